"""Outputs that replace older ones whole, or not at all.

A finished directory holds `_SUCCESS`; jobs write into a staging directory beside it and swap the
two, so that a reader never sees half an output and a failed job leaves the older one as it was.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cosernn_tf.errors import UserError
from cosernn_tf.workspace import SUCCESS

DISK_TROUBLES: Final = {
    errno.ENOSPC: "the disk is full, make room or choose another place",
    errno.EDQUOT: "your share of the disk is used up, make room or choose another place",
    errno.EFBIG: "a file is larger than the disk or `ulimit -f` lets it be, choose another place",
    errno.EROFS: "the disk may only be read, choose another place",
    errno.EIO: "the disk has a fault, choose another place",
    errno.EMFILE: "too many files are open, allow more by `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
}
"""Errors that are the machine's, by what a person can do."""

_STAGING: Final = "staging"
_OLD: Final = "old"
_DOOMED: Final = "doomed"
_HERE: Final = -100
"""`AT_FDCWD` of Linux: names are as of any other call."""
_RENAME_EXCHANGE: Final = 2
_TRIES: Final = 20
_SECONDS_BETWEEN_TRIES: Final = 0.05


@contextlib.contextmanager
def staged(final: Path, *, marker: str = SUCCESS) -> Iterator[Path]:
    """A fresh directory beside `final` that replaces it, whole, if the block does not raise.

    Args:
        final: The directory to write.
        marker: A file that every output of this job has: a directory without it is no older output
            of this job, and is not replaced unless it is empty.

    Raises:
        UserError: `final` is something else than an older output, or cannot be written, also if
            the block has met one of `DISK_TROUBLES`.
    """
    # What a link leads to is replaced, not the link.
    target = final.resolve()
    staging = _beside(target, _STAGING)
    try:
        _prepare(final, target, staging, marker=marker)
        yield staging
        (staging / SUCCESS).touch()
        _replace(target, staging)
    except OSError as error:
        reason = DISK_TROUBLES.get(error.errno or 0)
        if reason is None:
            raise
        raise UserError(
            f"{final} could not be written: {reason} (it had {_megabytes(_size(staging))} by then, "
            f"{_megabytes(shutil.disk_usage(staging).free)} are free); what was there is as it was"
        ) from error
    finally:
        _remove(staging)


def _prepare(final: Path, target: Path, staging: Path, *, marker: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            _clean_up_after_the_dead(target)
            _require_replaceable(final, marker)
            staging.mkdir()
    except OSError as error:
        # A file where a folder would have to be.
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f"{final} cannot be written ({error.filename}: {reason}): choose another place"
        ) from error


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a thread may just have removed it
            size += path.stat().st_size
    return size


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _remove(folder: Path) -> None:
    """Removes a folder, also one in which threads of a job that has failed still write."""
    for _ in range(_TRIES):
        # Where it is called otherwise, they find it no more, and it gets empty.
        doomed = folder.with_name(folder.name.replace(f".{_STAGING}-", f".{_DOOMED}-"))
        with contextlib.suppress(OSError):
            folder.rename(doomed)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(doomed, ignore_errors=True)
        if not folder.exists() and not doomed.exists():
            return
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _beside(final: Path, what: str) -> Path:
    """A directory of this process; the host stands in it as a workspace may be shared."""
    return final.parent / f".{final.name}.{what}-{platform.node()}-{os.getpid()}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time put outputs into the folder, where its file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_replaceable(final: Path, marker: str) -> None:
    if not final.exists() or (final / marker).is_file():
        return
    if not final.is_dir() or any(final.iterdir()):
        raise UserError(
            f"{final} exists and is not an older output of this job (it has no {marker}), so it is "
            "not replaced: remove it, or choose another place"
        )


def _replace(final: Path, staging: Path) -> None:
    """Puts `staging` in the place of `final`, in one step where the system can."""
    with _alone(final.parent):
        if not final.exists():
            staging.rename(final)
        elif not _exchange(staging, final):
            _replace_in_two_steps(final, staging)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two directories, so that at no time either is missing; False where nothing can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if rename(_HERE, names[0], _HERE, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _replace_in_two_steps(final: Path, staging: Path) -> None:
    old = _beside(final, _OLD)
    final.rename(old)
    try:
        staging.rename(final)
    except BaseException:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _clean_up_after_the_dead(final: Path) -> None:
    """Removes what killed processes have left; an output that was about to be replaced returns."""
    for what in (_OLD, _STAGING, _DOOMED):
        of_this_host = _beside(final, what).name.rpartition("-")[0]
        for leftover in final.parent.glob(".*"):
            stem, _, pid = leftover.name.rpartition("-")
            if stem != of_this_host or not pid.isdigit() or _is_another_alive(int(pid)):
                continue
            if what == _OLD and not final.exists():
                leftover.rename(final)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


def _is_another_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # Alive, and someone else's.
    return pid != os.getpid()
