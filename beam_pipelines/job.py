"""Runs the sessionise pipeline and makes its output official: the library behind the command."""

import contextlib
import dataclasses
import json
import logging as python_logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from absl import logging
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_pipelines import append, runners, sources
from beam_pipelines import pipeline as graph
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.memory import MemoryPlan, plan_memory
from beam_pipelines.rules.hashing import StoredIds
from beam_pipelines.rules.older import Older
from beam_pipelines.rules.refusals import has_listens, nothing_kept, rejected_listens
from beam_pipelines.rules.spill import Spill
from beam_pipelines.rules.state import INPUTS, Inputs
from beam_pipelines.rules.tally import DUPLICATES, KEPT, READ, REJECTED, Tally
from beam_pipelines.sources.base import Source, Unit
from beam_pipelines.sources.files import check_apart, find_files, version_of
from beam_pipelines.sources.size import estimate_listens
from beam_pipelines.sources.users import SUFFIXES, check_users_file
from beam_pipelines.tfds_metadata import write_tfds_metadata
from beam_pipelines.transforms.write import REPORT
from beam_pipelines.troubles import told_once
from cosernn_tf.errors import UserError
from cosernn_tf.staging import staged
from cosernn_tf.whole_files import write_whole
from cosernn_tf.workspace import MANIFEST, Manifest, Shard

_RAW: Final = StoredIds()


def sessionize(
    config: SessionizeConfig,
    *,
    runner: str = runners.DIRECT_RUNNER,
    beam_arguments: Sequence[str] = (),
) -> Manifest:
    """Turns listens into a directory of session sequences; an older one is replaced as a whole.

    With `config.append`, the newer one has the older one's sessions, too.

    Args:
        config: What to do.
        runner: Name of a Beam runner.
        beam_arguments: Flags of Beam and of the runner.

    Raises:
        UserError: The input cannot be read, or has no listens. The older output stays.
    """
    if not runners.is_direct(runner):
        config = _absolute(config)
    options = runners.pipeline_options(runner, beam_arguments, max_memory_mb=config.max_memory_mb)
    source = sources.create(config.listens_format, ignored_columns=config.ignore_columns)
    ids = stored_ids(config)
    older = append.open_older(config, ids=ids.description()) if config.append else None
    num_before = 0 if older is None else len(older.inputs.listens)
    units, ids = find_units(source, config.listens, ids, num_before=num_before)
    users, ids = _user_files(config.users, ids)
    inputs = Inputs(
        tuple(dict.fromkeys(ids.name(unit.path) for unit in units)),
        tuple(map(ids.name, users)),
        are_paths=config.hash_ids is None,
    )
    if older is not None:
        inputs = older.inputs.with_newer(inputs)
    # Beam tells much of itself, of no use to who runs the job.
    python_logging.getLogger("apache_beam").setLevel(python_logging.WARNING)
    logging.info("Sessionising %d files into %s", len({unit.path for unit in units}), config.output)
    check_apart(config.output, listens=config.listens, files=[u.path for u in units] + users)
    with (
        staged(config.output, marker=MANIFEST) as staging,
        told_once(),
        tempfile.TemporaryDirectory(dir=staging, ignore_cleanup_errors=True) as temporary,
    ):
        pipeline = runners.new_pipeline(options, temporary=temporary)
        with _spill(runner, staging) as spill:
            graph.build(
                pipeline,
                config,
                source=source,
                units=units,
                users=users,
                inputs=inputs,
                plan=_plan(config, options, units, older),
                staging=str(staging),
                spill=spill,
                ids=ids,
                older=older,
            )
            runners.run(pipeline, runner)
        manifest = _finish(config, staging, ids=ids, inputs=inputs, older=older)
    _log_summary(manifest, config.output)
    return manifest


def _absolute(config: SessionizeConfig) -> SessionizeConfig:
    """The same job for workers that were started elsewhere."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else str(Path(path).absolute())

    return dataclasses.replace(
        config,
        listens=tuple(str(Path(pattern).absolute()) for pattern in config.listens),
        users=absolute(config.users),
        output=config.output.absolute(),
        hash_ids=absolute(config.hash_ids),
    )


def _plan(
    config: SessionizeConfig,
    options: PipelineOptions,
    units: Sequence[Unit],
    older: Older | None,
) -> MemoryPlan:
    num_listens = estimate_listens(units)
    if older is not None:
        # Of the frozen ones only the sessions are there; but in all shards.
        num_listens += older.manifest.counters[KEPT]
    # What other runners do side by side in a process, they do not say.
    threads = options.view_as(DirectOptions).direct_num_workers or runners.processors()
    plan = plan_memory(
        config.max_memory_mb,
        threads=threads,
        num_listens=num_listens,
        num_shards=config.num_shards,
    )
    logging.info(
        "About %s listens: %d at a time of %d buckets of users",
        f"{num_listens:,}",
        threads,
        plan.fan * config.num_shards,
    )
    return plan


@contextlib.contextmanager
def _spill(runner: str, staging: Path) -> Iterator[Spill]:
    """To disk where the shuffle would be in this process' memory, else along with the rows."""
    if not runners.is_direct(runner):
        yield Spill()
        return
    directory = staging / "spill"
    directory.mkdir()
    yield Spill(str(directory))
    shutil.rmtree(directory)


def stored_ids(config: SessionizeConfig) -> StoredIds:
    """Raises `UserError` for a key file that has no key."""
    if config.hash_ids is None:
        return StoredIds()
    if "track_id" in config.hash_ids_columns:
        logging.info(
            "Track ids are hashed: what is to match them, such as --playlists of "
            "cosernn_tf.embed_tracks, needs hashed ids, too (WORKSPACE.md)"
        )
    return StoredIds.hashed(config.hash_ids, config.hash_ids_columns)


def find_units(
    source: Source,
    patterns: Sequence[str],
    ids: StoredIds = _RAW,
    *,
    num_before: int = 0,
) -> tuple[list[Unit], StoredIds]:
    """The units of all files that the patterns name, and `ids` with names for these.

    Args:
        source: Their format.
        patterns: Files, globs or directories.
        ids: How ids are stored.
        num_before: How many files an older run has read.

    Raises:
        UserError: There is none.
    """
    files = find_files(patterns, source.suffixes, flag="--listens")
    ids = ids.naming(files, flag="--listens", num_before=num_before)
    units: list[Unit] = []
    for path in files:
        with _named(path, ids):
            version = version_of(path)
            of_file = [dataclasses.replace(unit, version=version) for unit in source.units(path)]
        if not of_file:
            logging.info("%s has no listens in this format: left out", ids.name(str(path)))
        units += of_file
    if not units:
        raise UserError(f"--listens={','.join(patterns)} has no rows: there is nothing to read")
    return units, ids


@contextlib.contextmanager
def _named(path: Path, ids: StoredIds) -> Iterator[None]:
    """Has errors call the file as `ids` does."""
    try:
        yield
    except UserError as error:
        raise UserError(ids.anonymous(str(error), str(path))) from error


def _user_files(pattern: str | None, ids: StoredIds) -> tuple[list[str], StoredIds]:
    if pattern is None:
        return [], ids
    files = find_files([pattern], SUFFIXES, flag="--users")
    ids = ids.naming(files, flag="--users")
    for path in files:
        with _named(path, ids):
            check_users_file(path)
    return [str(path) for path in files], ids


def _finish(
    config: SessionizeConfig,
    staging: Path,
    *,
    ids: StoredIds,
    inputs: Inputs,
    older: Older | None,
) -> Manifest:
    """Writes the manifest of what the pipeline has left in `staging`."""
    path = staging / REPORT
    parts = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    failures = sorted({part["failure"] for part in parts if "failure" in part})
    if failures:
        for failure in failures[1:]:
            logging.error("Also: %s", failure)
        more = f" (and {len(failures) - 1} more like this, listed above)" if failures[1:] else ""
        raise UserError(failures[0] + more)
    refusals = [part["refusal"] for part in parts if "refusal" in part]
    if refusals:
        raise UserError("; also ".join(refusals))
    (tally,) = (Tally.from_dict(part["tally"]) for part in parts if "tally" in part)
    options = config.options()
    if not has_listens(tally):
        raise UserError(nothing_kept(tally, listens=",".join(config.listens)))
    if older is not None:
        append.keep_rejected(older, config, inputs, staging)
        tally, options = append.as_one_run(older.manifest, config, tally)
    _check_sum(tally)
    shards = sorted(
        (Shard(**part["shard"]) for part in parts if "shard" in part), key=lambda s: s.name
    )
    (vocabularies,) = (part for part in parts if "vocabularies" in part)
    state = {name: checksum for part in parts for name, checksum in part.get("state", {}).items()}
    if config.keep_state:
        state[INPUTS] = write_whole(staging / INPUTS, [inputs.to_json()]).sha256
    assert tally.first_timestamp is not None
    assert tally.last_timestamp is not None
    manifest = Manifest(
        shards=tuple(shards),
        counters={
            **tally.counters,
            "sessions": sum(shard.sessions for shard in shards),
            "tracks": vocabularies["tracks"],
        },
        split=tally.split(validation_days=config.validation_days, test_days=config.test_days),
        options=options,
        first_timestamp=tally.first_timestamp,
        last_timestamp=tally.last_timestamp,
        vocabularies=vocabularies["vocabularies"],
        ids=ids.description(),
        state=state,
    )
    num_bytes = sum(part.get("bytes", 0) for part in parts)
    write_tfds_metadata(staging, shards, num_bytes=num_bytes)
    (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _check_sum(tally: Tally) -> None:
    """Every row read is kept, a duplicate or rejected; anything else is a bug."""
    counters = tally.counters
    rejected = sum(rejected_listens(counters).values())
    if counters[READ] != counters[KEPT] + counters.get(DUPLICATES, 0) + rejected:
        raise AssertionError(f"rows were lost: {counters}")


def _log_summary(manifest: Manifest, output: Path) -> None:
    counters = manifest.counters
    shown = (READ, KEPT, DUPLICATES, "users", "sessions", "tracks")
    logging.info("%s: %s", output, ", ".join(f"{counters[n]:,} {n}" for n in shown))
    rejected: dict[str, Any] = {k: v for k, v in counters.items() if k.startswith(REJECTED) and v}
    if rejected:
        logging.warning(
            "Rejected rows are in %s/rejected.jsonl-*: %s",
            output,
            ", ".join(
                f"{number:,} {name.removeprefix(REJECTED)}" for name, number in rejected.items()
            ),
        )
