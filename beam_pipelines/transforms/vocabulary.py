"""From the counts of all buckets to the vocabularies, and the rows of the buckets' tracks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.older import Older
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, load_array, to_bytes
from beam_pipelines.rules.vocabulary import (
    merge_stream_sources,
    merge_tracks,
    order_tracks,
    split_by_range,
)

RANKS: Final = "ranks"
RANGES: Final = "ranges"
OLDER_RANKS: Final = "older_ranks"
OLDER_ORDER: Final = "older_order"
OLDER: Final = -1
"""Stands for an older output where buckets have their numbers."""


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
    stream_sources: pa.Table
    """Of `SOURCE_SCHEMA`; those from `num_stream_sources` on are cut."""
    num_stream_sources: int

    def track_rows(self, order: np.ndarray, ranks: Iterable[tuple[int, Part]]) -> np.ndarray:
        """(n,) int32 rows of the tracks of a bucket.

        Args:
            order: (n,) codes of tracks in the order in which their ranges tell their ranks.
            ranks: Ranges, by number, and the ranks in them, int32.
        """
        all_rows = load_array(self.rows, np.int32)
        rows = np.empty(len(order), np.int32)
        start = 0
        for number, part in sorted(ranks, key=itemgetter(0)):
            of_range = load_array(part, np.int32)
            own = order[start : start + len(of_range)]
            rows[own] = all_rows[self.first[number] + of_range]
            start += len(own)
        return rows

    def source_rows(self, names: pa.Array) -> np.ndarray:
        """(n,) int64 rows of stream sources; 0, unknown, where one does not occur in training."""
        found = pc.index_in(names, self.stream_sources["stream_source"].combine_chunks())
        return np.asarray(pc.fill_null(found, 0).to_numpy(zero_copy_only=False), np.int64)


class MergeTracks(beam.DoFn):
    """From (range, its (bucket, part: Arrow IPC of `Counts.tracks`)) to (shard, (bucket, ranks)).

    The ranks are (range, part: int32). Tagged outputs: `RANGES`, a `Range`, and `OLDER_RANKS`, the
    ranks of the tracks of an older output, which stand among the buckets as `OLDER`.
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
            if bucket == OLDER:
                yield TaggedOutput(OLDER_RANKS, (number, part))
                continue
            yield bucket % self._num_shards, (bucket, (number, part))


class SplitOlder(beam.DoFn):
    """From an older output to (range, (`OLDER`, part)) of its tracks, as of a bucket's.

    Tagged output: `OLDER_ORDER`, a part, the tracks' rows there in the order of the ranges, int32.
    """

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def process(self, older: Older, splitters: tuple[str, ...]) -> Iterator[Any]:
        order, ranges = split_by_range(older.tracks(), splitters)
        placed, *counted = self._spill.put(
            [order.astype(np.int32), *map(to_bytes, ranges.values())]
        )
        yield TaggedOutput(OLDER_ORDER, placed)
        for number, part in zip(ranges, counted, strict=True):
            yield number, (OLDER, part)


class PlaceOlder(beam.DoFn):
    """From a `Vocabulary` to a part, the new row of each row of an older output's tracks, int32."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def process(
        self, vocabulary: Vocabulary, order: Part, ranks: Iterable[tuple[int, Part]]
    ) -> Iterator[Part]:
        yield from self._spill.put([vocabulary.track_rows(load_array(order, np.int32), ranks)])


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
        stream_sources = merge_stream_sources(map(from_bytes, sources))
        yield Vocabulary(
            ranges=tuple(ranges),
            first={found.number: end for found, end in zip(ranges, ends, strict=False)},
            rows=rows,
            num_tracks=order.num_tracks,
            stream_sources=stream_sources,
            # Beside `unknown`.
            num_stream_sources=min(stream_sources.num_rows, 1 + self._max_stream_sources),
        )
