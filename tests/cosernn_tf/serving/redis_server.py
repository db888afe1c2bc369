"""A Redis server of the test's own, where there is the program.

With `EXPECT_REDIS` in the environment, as CI has it, a machine without it fails; else tests that
need it are skipped.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SECONDS_TO_START = 30


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a durable one that listens on a socket in `folder` only."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "there is no redis-server on the path (Debian's package has that name)"
        if os.environ.get("EXPECT_REDIS"):
            raise AssertionError(f"EXPECT_REDIS is set, but {reason}")
        pytest.skip(reason)
    import redis

    # The path of a socket has at most 107 bytes.
    socket = Path(os.path.relpath(folder)) / "s" if len(str(folder)) > 90 else folder / "s"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
    process = subprocess.Popen(
        [program, *(word for name, value in options.items() for word in (f"--{name}", value))],
        stdout=subprocess.DEVNULL,
    )
    address = f"unix://{socket}"
    try:
        end = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                redis.Redis.from_url(address).ping()
                break
            except redis.ConnectionError:
                assert process.poll() is None, "redis-server has ended"
                assert time.monotonic() < end, "redis-server does not start"
                time.sleep(0.02)
        yield address
    finally:
        process.kill()
        process.wait()
