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
from beam_pipelines.rules.refusals import too_many_bad
from beam_pipelines.rules.spill import Spill
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
from beam_pipelines.transforms.vocabulary import RANGES, RANKS, MergeTracks, OrderTracks
from beam_pipelines.transforms.write import WriteRejected, WriteReport, WriteShard, WriteVocabulary

_BUCKETS = "buckets"


def build(
    pipeline: beam.Pipeline,
    config: SessionizeConfig,
    *,
    source: Source,
    units: Sequence[Unit],
    users: Sequence[str],
    plan: MemoryPlan,
    staging: str,
    spill: Spill,
    ids: StoredIds,
) -> None:
    """Adds the whole job to a pipeline; every worker must reach `staging`."""
    num_shards = config.num_shards
    num_buckets = num_shards * plan.fan
    listens = (
        pipeline
        | "Units" >> beam.Create(units)
        | "SpreadUnits" >> beam.Reshuffle()
        | "ReadListens"
        >> beam.ParDo(ReadListens(source, num_buckets, spill, ids=ids)).with_outputs(
            REJECTED_LINES, SAMPLES, TALLY, FAILURES, main=LISTENS
        )
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
        Tally.split, validation_days=config.validation_days, test_days=config.test_days
    )
    splitters = (
        listens[SAMPLES]
        | "GatherSamples" >> beam.combiners.ToList()
        | "ChooseSplitters" >> beam.Map(choose_splitters, plan.num_ranges)
    )
    sequences = (
        {LISTENS: listens[LISTENS], USERS: ages[USERS], _BUCKETS: buckets}
        | "GroupByBucket" >> beam.CoGroupByKey()
        | "SequenceUsers"
        >> beam.ParDo(
            SequenceUsers(config, spill),
            AsSingleton(split),
            AsSingleton(splitters),
            AsIter(stops),
        ).with_outputs(COUNTS, SOURCES, TALLY, main=SESSIONS)
    )
    tracks = (
        sequences[COUNTS]
        | "GroupByRange" >> beam.GroupByKey()
        | "MergeTracks"
        >> beam.ParDo(MergeTracks(num_shards, spill)).with_outputs(RANGES, main=RANKS)
    )
    vocabulary = (
        tracks[RANGES]
        | "GatherRanges" >> beam.combiners.ToList()
        | "OrderTracks" >> beam.ParDo(OrderTracks(config, spill), AsIter(sequences[SOURCES]))
    )
    shards = (
        {SESSIONS: sequences[SESSIONS], RANKS: tracks[RANKS]}
        | "GroupByShard" >> beam.CoGroupByKey()
        | "WriteShards"
        >> beam.ParDo(WriteShard(staging, num_shards, spill), AsSingleton(vocabulary))
    )
    vocabularies = vocabulary | "WriteVocabulary" >> beam.ParDo(WriteVocabulary(staging, spill))

    paths = [*dict.fromkeys(unit.path for unit in units), *users]
    _ = (
        (listens[REJECTED_LINES], ages[REJECTED_LINES])
        | "Rejected" >> beam.Flatten()
        | "GroupRejectedByFile" >> beam.GroupByKey()
        | "WriteRejected" >> beam.ParDo(WriteRejected(staging, paths))
    )
    tally = (
        (read, sequences[TALLY])
        | "Tallies" >> beam.Flatten()
        | "SumTallies" >> beam.CombineGlobally(_sum)
        | "TallyPart" >> beam.Map(lambda total: {"tally": vars(total)})
    )
    failed = failures | "FailurePart" >> beam.Map(lambda message: {"failure": message})
    refused = refusals | "RefusalPart" >> beam.Map(lambda message: {"refusal": message})
    _ = (
        (shards, vocabularies, tally, failed, refused)
        | "Parts" >> beam.Flatten()
        | "GatherParts" >> beam.combiners.ToList()
        | "WriteReport" >> beam.ParDo(WriteReport(staging))
    )


def _sum(tallies: Sequence[Tally]) -> Tally:
    return sum(tallies, Tally())
