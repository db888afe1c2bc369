"""How a run keeps within `--max_memory_mb`: how many threads work, each on how large a bucket.

Listens are spilled to disk by hash bucket of their users, and each thread holds one bucket at a
time; so what a run takes is what the process takes anyway, plus threads x listens of a bucket x
what a listen takes there. A log with more listens gets more buckets, not larger ones.
"""

import ctypes
from dataclasses import dataclass
from math import ceil
from typing import Final

import pyarrow as pa

from cosernn_tf.errors import UserError

MAX_THREADS: Final = 8

_MIB: Final = 2**20
_PROCESS_BYTES: Final = 320 * _MIB
"""What the job takes with a log of a few listens: imports, Beam's runner, pools of allocators."""
_BATCH_BYTES: Final = 160 * _MIB
"""What a thread takes to read a batch of rows, and the least that it works with."""
_BYTES_PER_LISTEN: Final = 600
"""Of a bucket, while it is put in order and cut in sessions: the columns, twice at most."""
_UNEVEN: Final = 2
"""How many times the mean the listens of a bucket are, where some users have many."""
_BYTES_PER_ENTRY: Final = 100
"""Of a distinct track of a bucket, while the tracks of all buckets are merged."""

_LISTENS_PER_RANGE: Final = 2**19
_RANGES_FOR_SPEED: Final = 16
"""The table of a range's tracks should fit a processor's cache; but to tell the range of a track
takes longer with every range."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def reuse_freed_memory() -> None:
    """Lets this process keep some of what it frees: the next bucket takes as much again.

    To give memory back to the system and to get it again, page by page, took a tenth of all time.
    NumPy's memory comes from the C library; here Arrow's comes from it, too, instead of a pool of
    its own, so that what the one frees the other can have.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    library = ctypes.CDLL(None)
    # Only the GNU C library has these, the greatest that it takes among them.
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
        library.mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)


@dataclass(frozen=True)
class MemoryPlan:
    """How the work is cut."""

    fan: int = 1
    """Buckets of users a shard."""
    num_ranges: int = 1
    """Of track ids, each merged by one thread."""


def plan_threads(max_memory_mb: int, *, processors: int) -> int:
    """How many threads may work side by side.

    Raises:
        UserError: There is not even memory for one.
    """
    threads = _budget(max_memory_mb) // _BATCH_BYTES
    if threads < 1:
        least = -(-(_PROCESS_BYTES + _BATCH_BYTES) // _MIB)
        raise UserError(f"--max_memory_mb={max_memory_mb} is too little: the job needs {least}")
    return min(threads, processors, MAX_THREADS)


def plan_memory(
    max_memory_mb: int, *, threads: int, num_listens: int, num_shards: int
) -> MemoryPlan:
    """Buckets and ranges so small that a thread's share of the memory is enough for one."""
    share = _budget(max_memory_mb) // threads // _UNEVEN
    # Every listen may be of a track of its own.
    that_fit = ceil(num_listens * _BYTES_PER_ENTRY / share)
    of_a_cache = min(ceil(num_listens / _LISTENS_PER_RANGE), _RANGES_FOR_SPEED)
    return MemoryPlan(
        fan=max(1, ceil(num_listens * _BYTES_PER_LISTEN / share / num_shards)),
        num_ranges=max(2 * threads, of_a_cache, that_fit),
    )


def _budget(max_memory_mb: int) -> int:
    return max_memory_mb * _MIB - _PROCESS_BYTES
