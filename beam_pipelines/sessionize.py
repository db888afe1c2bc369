"""Turns a listening log into per-user session sequences, TFRecord (see WORKSPACE.md).

    python -m beam_pipelines.sessionize --runner=DirectRunner
    python -m beam_pipelines.sessionize --listens='log/*.parquet' --users=users.csv
    python -m beam_pipelines.sessionize --append --listens=log_of_today.parquet

Without --listens it uses the embedded default log, and makes it first if nobody has. With --append
it adds a newer log to the output that is there, as one run over both logs would, without reading
the older log again. Flags that are not in the list below are passed to Apache Beam.
"""

import logging as python_logging
from pathlib import Path

from absl import flags, logging

from beam_pipelines.append import INHERITED, inherit
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.memory import reuse_freed_memory
from beam_pipelines.sources import FORMATS
from beam_pipelines.synthetic import SyntheticConfig, synthesize
from beam_pipelines.synthetic.writing import LISTENS, USERS
from cosernn_tf import cli
from cosernn_tf.config import require
from cosernn_tf.workspace import SUCCESS, Workspace

_DEFAULTS = SessionizeConfig(listens=("-",))

flags.declare_key_flag("workspace")
_LISTENS = flags.DEFINE_list(
    "listens",
    None,
    "The log: files, globs or directories, comma-separated. Without it, the embedded default log.",
)
_LISTENS_FORMAT = flags.DEFINE_enum(
    "listens_format", _DEFAULTS.listens_format, FORMATS, "Format of the log (docs/formats.md)."
)
_USERS = flags.DEFINE_string(
    "users",
    None,
    "Users and ages: Parquet or CSV of user_id, age, or a Last.fm table (docs/formats.md).",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; <workspace>/sessions by default. Replaced as a whole."
)
_APPEND = flags.DEFINE_bool(
    "append",
    False,
    "Add the log to the output that is there, as one run over the older log and this one would; "
    "the older log is not read again.",
)
_KEEP_STATE = flags.DEFINE_bool(
    "keep_state",
    _DEFAULTS.keep_state,
    "Leave in the output what a later run with --append needs.",
)
_IGNORE_COLUMNS = flags.DEFINE_list(
    "ignore_columns", [], "Columns of the log beyond the canonical ones to leave out."
)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards",
    _DEFAULTS.num_shards,
    "Files of session sequences to write; a user's is told by a hash of the id.",
)
_MAX_MEMORY_MB = flags.DEFINE_integer(
    "max_memory_mb",
    _DEFAULTS.max_memory_mb,
    "Memory that the job may take, in MiB, however long the log is; what does not fit is kept on "
    "disk beside the output. Only the listens of a single user must fit.",
)
_SESSION_GAP_SECONDS = flags.DEFINE_integer(
    "session_gap_seconds",
    _DEFAULTS.session_gap_seconds,
    "Inactivity that starts a new session; exactly so much does.",
)
_VALIDATION_DAYS = flags.DEFINE_integer(
    "validation_days", _DEFAULTS.validation_days, "Days of the validation split, before the test."
)
_TEST_DAYS = flags.DEFINE_integer(
    "test_days", _DEFAULTS.test_days, "Days of the test split, the last of the log."
)
_MIN_TRACK_LISTENS = flags.DEFINE_integer(
    "min_track_listens",
    _DEFAULTS.min_track_listens,
    "Tracks with fewer listens in the training split are cut from the vocabulary.",
)
_MAX_STREAM_SOURCES = flags.DEFINE_integer(
    "max_stream_sources",
    _DEFAULTS.max_stream_sources,
    "Stream sources that are told apart, the most frequent; the others become 'unknown'.",
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction",
    _DEFAULTS.max_bad_fraction,
    "Share of the log's rows, and of the users', that may be bad; above it the job refuses. With "
    "1 it keeps what is good.",
)
_HASH_IDS = flags.DEFINE_string(
    "hash_ids",
    None,
    "File with a secret key: ids are replaced by keyed hashes wherever they would be written "
    "(WORKSPACE.md). Keep the file; the key is stored nowhere else.",
)
_HASH_IDS_COLUMNS = flags.DEFINE_list(
    "hash_ids_columns",
    list(_DEFAULTS.hash_ids_columns),
    "The ids that --hash_ids hashes: user_id, track_id or both.",
)
_RUNNER = flags.DEFINE_string(
    "runner", "DirectRunner", "Beam runner; DirectRunner works in this process."
)


def main(argv: list[str]) -> None:
    workspace = Workspace(Path(cli.WORKSPACE.value))
    listens, users = _LISTENS.value, _USERS.value
    output = Path(_OUTPUT.value) if _OUTPUT.value else workspace.sessions
    config = SessionizeConfig(
        listens=tuple(listens if listens is not None else [str(workspace.log / LISTENS)]),
        listens_format=_LISTENS_FORMAT.value,
        users=users if users or listens is not None else str(workspace.log / USERS),
        output=output,
        append=_APPEND.value,
        keep_state=_KEEP_STATE.value,
        ignore_columns=tuple(_IGNORE_COLUMNS.value),
        num_shards=_NUM_SHARDS.value,
        max_memory_mb=_MAX_MEMORY_MB.value,
        session_gap_seconds=_SESSION_GAP_SECONDS.value,
        validation_days=_VALIDATION_DAYS.value,
        test_days=_TEST_DAYS.value,
        min_track_listens=_MIN_TRACK_LISTENS.value,
        max_stream_sources=_MAX_STREAM_SOURCES.value,
        max_bad_fraction=_MAX_BAD_FRACTION.value,
        hash_ids=_HASH_IDS.value,
        hash_ids_columns=tuple(_HASH_IDS_COLUMNS.value),
    )
    if config.append:
        require(
            listens is not None, "--append needs --listens: the newer log, which is to be added"
        )
        given = {name for name in INHERITED if flags.FLAGS[name].present}
        config = inherit(config, {name: getattr(config, name) for name in given})
    # Beam takes seconds to import: a bad flag is refused before. It warns of what it lacks for
    # services that this job does not use.
    python_logging.disable(python_logging.WARNING)
    from beam_pipelines.job import sessionize
    from beam_pipelines.runners import pipeline_options

    python_logging.disable(python_logging.NOTSET)

    arguments = argv[1:]
    pipeline_options(_RUNNER.value, arguments, max_memory_mb=config.max_memory_mb)
    if listens is None:
        _prepare_default_log(workspace.log)
    reuse_freed_memory()
    sessionize(config, runner=_RUNNER.value, beam_arguments=arguments)


def _prepare_default_log(log: Path) -> None:
    if (log / SUCCESS).is_file():
        logging.info("No --listens: using the embedded default log in %s", log)
        return
    logging.info("No --listens: making the embedded default log in %s", log)
    synthesize(SyntheticConfig(), log)


def entry_point() -> None:
    cli.run(main, passes_unknown_flags=True)


if __name__ == "__main__":
    entry_point()
