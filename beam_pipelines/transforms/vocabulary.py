"""From the counts of all buckets to the vocabularies, and the rows of the buckets' tracks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, load_array, to_bytes
from beam_pipelines.rules.vocabulary import merge_stream_sources, merge_tracks, order_tracks

RANKS: Final = "ranks"
RANGES: Final = "ranges"


@dataclass(frozen=True)
class Range:
    """The merged tracks of a range."""

    number: int
    tracks: Part
    """Arrow IPC of `MergedTracks.tracks`."""
    listens: Part
    """int64: of the same tracks, the numbers alone."""


@dataclass(frozen=True)
class Vocabulary:
    """What the rows of session sequences stand for; the row number is the index."""

    ranges: tuple[Range, ...]
    """Of the tracks, in their order."""
    first: dict[int, int]
    """Place of the first track of each range, by number, among all tracks by id."""
    rows: Part
    """int32: row of each track, the tracks by id; those from `num_tracks` on are cut."""
    num_tracks: int
    stream_sources: tuple[str, ...]

    def rows_of(self, ranks: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
        """(n,) int32 rows of tracks of ranges, by number, given by their ranks there."""
        rows = load_array(self.rows, np.int32)
        pieces = [rows[self.first[number] + own] for number, own in ranks]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)


class MergeTracks(beam.DoFn):
    """From (range, its (bucket, part: Arrow IPC of `Counts.tracks`)) to (shard, `BucketRanks`).

    Tagged output: `RANGES`, a `Range`.
    """

    def __init__(self, num_shards: int, spill: Spill) -> None:
        self._num_shards = num_shards
        self._spill = spill

    def process(self, element: tuple[int, Iterable[tuple[int, Part]]]) -> Iterator[Any]:
        number, counts = element
        buckets, parts = zip(*sorted(counts, key=itemgetter(0)), strict=True)
        merged = merge_tracks([from_bytes(load(part)) for part in parts])
        listens = merged.tracks["train_listens"].to_numpy()
        tracks, listens, *ranks = self._spill.put([to_bytes(merged.tracks), listens, *merged.ranks])
        yield TaggedOutput(RANGES, Range(number, tracks, listens))
        for bucket, part in zip(buckets, ranks, strict=True):
            yield bucket % self._num_shards, (bucket, (number, part))


class OrderTracks(beam.DoFn):
    """From all ranges, a list, and the counts of all stream sources to a `Vocabulary`."""

    def __init__(self, config: SessionizeConfig, spill: Spill) -> None:
        self._min_track_listens = config.min_track_listens
        self._max_stream_sources = config.max_stream_sources
        self._spill = spill

    def process(self, ranges: list[Range], sources: Iterable[bytes]) -> Iterator[Vocabulary]:
        ranges = sorted(ranges, key=lambda found: found.number)
        listens = [load_array(found.listens, np.int64) for found in ranges]
        ends = np.cumsum([0, *map(len, listens)]).tolist()
        order = order_tracks(
            np.concatenate([np.zeros(0, np.int64), *listens]),
            min_track_listens=self._min_track_listens,
        )
        (rows,) = self._spill.put([order.rows])
        yield Vocabulary(
            ranges=tuple(ranges),
            first={found.number: end for found, end in zip(ranges, ends, strict=False)},
            rows=rows,
            num_tracks=order.num_tracks,
            stream_sources=merge_stream_sources(
                map(from_bytes, sources), max_stream_sources=self._max_stream_sources
            ),
        )
