"""The graph of the sessionise job, from units of files to everything in the staging directory.

    units ─ReadListens─▶ listens ┐
    users ─ReadUsers───▶ ages ───┴▶ SequenceUsers ┬▶ coded sessions ───────────┐
                     by hash bucket of the user   └▶ counts ─MergeTracks─▶ ranks ┴▶ WriteShard
                                 by range of the track ids      └─OrderTracks─▶ rows ─┘
                                                                       └▶ WriteVocabulary

A bucket is a part of a shard: as many to a shard (`fan`) as make them small enough for memory. Rows
that are no listens, and a tally of what happened to every row, leave at the side. What is large
goes by way of a `Spill`.
"""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.memory import MemoryPlan
from beam_pipelines.rules.hashing import StoredIds
from beam_pipelines.rules.older import Older
from beam_pipelines.rules.refusals import too_many_bad
from beam_pipelines.rules.spill import Spill, to_bytes
from beam_pipelines.rules.state import Inputs
from beam_pipelines.rules.tally import Tally
from beam_pipelines.rules.vocabulary import choose_splitters
from beam_pipelines.sources.base import Source, Unit
from beam_pipelines.transforms.read import (
    FAILURES,
    LISTENS,
    REJECTED_LINES,
    SAMPLES,
    TALLY,
    USERS,
    ReadListens,
    ReadUsers,
)
from beam_pipelines.transforms.sequence import COUNTS, SESSIONS, SOURCES, SequenceUsers
from beam_pipelines.transforms.vocabulary import (
    OLDER_ORDER,
    OLDER_RANKS,
    RANGES,
    RANKS,
    MergeTracks,
    OrderTracks,
    PlaceOlder,
    SplitOlder,
)
from beam_pipelines.transforms.write import WriteRejected, WriteReport, WriteShard, WriteVocabulary

_BUCKETS = "buckets"


def build(
    pipeline: beam.Pipeline,
    config: SessionizeConfig,
    *,
    source: Source,
    units: Sequence[Unit],
    users: Sequence[str],
    inputs: Inputs,
    plan: MemoryPlan,
    staging: str,
    spill: Spill,
    ids: StoredIds,
    older: Older | None = None,
) -> None:
    """Adds the whole job to a pipeline; every worker must reach `staging`, and `older` if given.

    Raises:
        UserError: The vocabularies of `older` are damaged: known before the work begins.
    """
    num_shards = config.num_shards
    num_buckets = num_shards * plan.fan
    listens = (
        pipeline
        | "Units" >> beam.Create(units)
        | "SpreadUnits" >> beam.Reshuffle()
        | "ReadListens"
        >> beam.ParDo(
            ReadListens(source, num_buckets, spill, ids=ids, keeps_origin=older is not None)
        ).with_outputs(REJECTED_LINES, SAMPLES, TALLY, FAILURES, main=LISTENS)
    )
    ages = (
        pipeline
        | "UserFiles" >> beam.Create(users)
        | "ReadUsers"
        >> beam.ParDo(ReadUsers(num_buckets, spill, ids=ids)).with_outputs(
            REJECTED_LINES, TALLY, FAILURES, main=USERS
        )
    )
    failures = (listens[FAILURES], ages[FAILURES]) | "Failures" >> beam.Flatten()
    # Every bucket has a shard, also one without a user.
    buckets = (
        pipeline
        | "Buckets" >> beam.Create(range(num_buckets))
        | "KeyBuckets" >> beam.Map(lambda number: (number, b""))
    )
    read = (
        (listens[TALLY], ages[TALLY])
        | "ReadTallies" >> beam.Flatten()
        | "SumRead" >> beam.CombineGlobally(_sum)
    )
    refusals = read | "RefuseTooManyBad" >> beam.FlatMap(
        too_many_bad,
        limit=config.max_bad_fraction,
        listens=",".join(config.listens),
        users=config.users,
        rejected=f"{config.output}/rejected.jsonl-*",
    )
    stops = (failures, refusals) | "Stops" >> beam.Flatten()
    split = read | "Split" >> beam.Map(
        Tally.split,
        validation_days=config.validation_days,
        test_days=config.test_days,
        last_before=0 if older is None else older.manifest.last_timestamp,
    )
    samples = [listens[SAMPLES]]
    if older is not None:
        samples.append(pipeline | "OlderSample" >> beam.Create([older.sample_of_tracks()]))
    splitters = (
        samples
        | "Samples" >> beam.Flatten()
        | "GatherSamples" >> beam.combiners.ToList()
        | "ChooseSplitters" >> beam.Map(choose_splitters, plan.num_ranges)
    )
    sequences = (
        {LISTENS: listens[LISTENS], USERS: ages[USERS], _BUCKETS: buckets}
        | "GroupByBucket" >> beam.CoGroupByKey()
        | "SequenceUsers"
        >> beam.ParDo(
            SequenceUsers(config, spill, num_buckets=num_buckets, ids=ids, older=older),
            AsSingleton(split),
            AsSingleton(splitters),
            AsIter(stops),
        ).with_outputs(COUNTS, SOURCES, TALLY, REJECTED_LINES, FAILURES, main=SESSIONS)
    )
    counts, sources = [sequences[COUNTS]], [sequences[SOURCES]]
    if older is not None:
        older_tracks = (
            pipeline
            | "Older" >> beam.Create([older])
            | "SplitOlder"
            >> beam.ParDo(SplitOlder(spill), AsSingleton(splitters)).with_outputs(
                OLDER_ORDER, main=COUNTS
            )
        )
        counts.append(older_tracks[COUNTS])
        of_older = to_bytes(older.stream_sources())
        sources.append(pipeline | "OlderSources" >> beam.Create([of_older]))
    tracks = (
        counts
        | "Counts" >> beam.Flatten()
        | "GroupByRange" >> beam.GroupByKey()
        | "MergeTracks"
        >> beam.ParDo(MergeTracks(num_shards, spill)).with_outputs(RANGES, OLDER_RANKS, main=RANKS)
    )
    vocabulary = (
        tracks[RANGES]
        | "GatherRanges" >> beam.combiners.ToList()
        | "OrderTracks"
        >> beam.ParDo(OrderTracks(config, spill), AsIter(sources | "Sources" >> beam.Flatten()))
    )
    of_all_shards = [AsSingleton(vocabulary)]
    if older is not None:
        older_rows = vocabulary | "PlaceOlder" >> beam.ParDo(
            PlaceOlder(spill),
            AsSingleton(older_tracks[OLDER_ORDER]),
            AsIter(tracks[OLDER_RANKS]),
        )
        of_all_shards.append(AsSingleton(older_rows))
    shards = (
        {SESSIONS: sequences[SESSIONS], RANKS: tracks[RANKS]}
        | "GroupByShard" >> beam.CoGroupByKey()
        | "WriteShards"
        >> beam.ParDo(WriteShard(staging, num_shards, spill, older=older), *of_all_shards)
    )
    vocabularies = vocabulary | "WriteVocabulary" >> beam.ParDo(
        WriteVocabulary(staging, spill, keeps_state=config.keep_state)
    )

    _ = (
        (listens[REJECTED_LINES], ages[REJECTED_LINES], sequences[REJECTED_LINES])
        | "Rejected" >> beam.Flatten()
        | "GroupRejectedByFile" >> beam.GroupByKey()
        | "WriteRejected" >> beam.ParDo(WriteRejected(staging, inputs, older=older))
    )
    tally = (
        (read, sequences[TALLY])
        | "Tallies" >> beam.Flatten()
        | "SumTallies" >> beam.CombineGlobally(_sum)
        | "TallyPart" >> beam.Map(lambda total: {"tally": vars(total)})
    )
    all_failures = (failures, sequences[FAILURES]) | "AllFailures" >> beam.Flatten()
    failed = all_failures | "FailurePart" >> beam.Map(lambda message: {"failure": message})
    refused = refusals | "RefusalPart" >> beam.Map(lambda message: {"refusal": message})
    _ = (
        (shards, vocabularies, tally, failed, refused)
        | "Parts" >> beam.Flatten()
        | "GatherParts" >> beam.combiners.ToList()
        | "WriteReport" >> beam.ParDo(WriteReport(staging))
    )


def _sum(tallies: Sequence[Tally]) -> Tally:
    return sum(tallies, Tally())
