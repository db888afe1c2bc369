"""`python -m cosernn_tf.serve`: answers over HTTP what `cosernn_tf.recommend` prints, just in time.

    python -m cosernn_tf.serve
    python -m cosernn_tf.serve --run=quickstart --port=8080 --store=redis://localhost:6379/0

Takes listens as they come, and keeps the state of every user in a store. / is a page for people,
/docs describes the API. SIGHUP opens the run and its index again; SIGTERM lets what is in flight be
answered, and ends the process. docs/serving.md has the rest.
"""

import contextlib
import os
from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import check_run_name, require
from cosernn_tf.errors import UserError
from cosernn_tf.serving.http.config import Limits, ServeConfig

_TOKEN = "COSERNN_TOKEN"
_DEFAULT = Limits()

flags.declare_key_flag("workspace")
_RUN = flags.DEFINE_string("run", "cosernn", "The trained run that answers.")
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "The address to listen at. One that other machines reach needs a token (see --token_file), or "
    "--allow_anonymous.",
)
_PORT = flags.DEFINE_integer(
    "port",
    8000,
    "The port to listen at; 0 takes a free one, which is printed.",
    lower_bound=0,
    upper_bound=65_535,
)
_STORE = flags.DEFINE_string(
    "store",
    None,
    "Where listens and states are kept: a file of SQLite, or redis://host:port/database. By "
    "default serving/state.sqlite of the workspace.",
)
_TOKEN_FILE = flags.DEFINE_string(
    "token_file",
    None,
    "A file with the bearer token that requests must bring. It may also be given in the "
    f"environment, as {_TOKEN}; never on the command line, which others can read.",
)
_ALLOW_ANONYMOUS = flags.DEFINE_bool(
    "allow_anonymous", False, "Answer other machines without a token: anybody who reaches --host."
)
_PAGE = flags.DEFINE_bool(
    "page", True, "Serve the page for people at /, and the ids of a few users for it."
)
_ACCESS_LOG = flags.DEFINE_bool(
    "access_log",
    True,
    "Log a line a request: its route, status and time, and no id. --verbosity=1 logs paths, ids "
    "included.",
)
_MAX_USERS = flags.DEFINE_integer(
    "max_users",
    100_000,
    "Users whose states are in memory; those who were asked for longest ago are read again from "
    "the store when needed.",
    lower_bound=1,
)
_MAX_BODY_BYTES = flags.DEFINE_integer(
    "max_body_bytes", _DEFAULT.body_bytes, "Of a request's body, at most.", lower_bound=1_000
)
_MAX_WAITING = flags.DEFINE_integer(
    "max_waiting",
    _DEFAULT.waiting,
    "Requests that wait for the model, at most; one more is answered with 503.",
    lower_bound=1,
)
_MAX_BATCH = flags.DEFINE_integer(
    "max_batch",
    _DEFAULT.batch,
    "Requests that are answered by one step of the model, at most. None waits for others.",
    lower_bound=1,
)
_MAX_SECONDS = flags.DEFINE_float(
    "max_seconds",
    _DEFAULT.seconds,
    "That a request may take; then it is answered with 504.",
    lower_bound=0.001,
)


def main(_: list[str]) -> None:
    run = check_run_name(_RUN.value)
    config = ServeConfig(
        host=_HOST.value,
        port=_PORT.value,
        token=_token(),
        allow_anonymous=_ALLOW_ANONYMOUS.value,
        page=_PAGE.value,
        access_log=_ACCESS_LOG.value,
        limits=Limits(
            body_bytes=_MAX_BODY_BYTES.value,
            waiting=_MAX_WAITING.value,
            batch=_MAX_BATCH.value,
            seconds=_MAX_SECONDS.value,
        ),
    )
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.runs import open_run
    from cosernn_tf.workspace import Workspace

    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_run(workspace.run(run))
    try:
        from cosernn_tf.serving.http.server import only_server, serve
    except ImportError as error:
        raise UserError(
            f"the endpoint needs the package {error.name}: pip install '.[serve]'"
        ) from error
    from cosernn_tf.serving.opening import is_redis, opener
    from cosernn_tf.serving.threads import one_operation_at_a_time

    one_operation_at_a_time()
    store = _STORE.value or str(workspace.serving / "state.sqlite")
    lock: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if not is_redis(store):
        # Whatever name it is given by, it is locked as one; and no name is special to SQLite.
        store = str(Path(store).resolve())
        lock = only_server(Path(f"{store}.lock"))
    with lock:
        serve(opener(workspace, run, store=store, max_users=_MAX_USERS.value), config)


def _token() -> str | None:
    """From the file, else from the environment."""
    if _TOKEN_FILE.value:
        try:
            token = Path(_TOKEN_FILE.value).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--token_file={_TOKEN_FILE.value} cannot be read: {error}") from error
        require(bool(token), f"--token_file={_TOKEN_FILE.value} is empty: write a token into it")
        return token
    # Whoever this process starts, or looks at it later, has no use for it.
    return os.environ.pop(_TOKEN, None) or None


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
