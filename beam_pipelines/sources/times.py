"""Times that a format gives otherwise than as the start of a listen in UTC."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.parsing import parse_time

START_OF_RELATIVE_TIMES: Final = 1_108_339_200
"""Monday, 2005-02-14 00:00 UTC: where logs are put that count seconds from their first event.

Spans and the order of things hold there; days of the week and hours are those of a log that began
on a Monday at midnight, which nobody knows.
"""

_FARTHEST: Final = 2**62


def later(times: pa.Array, seconds: int | np.ndarray | pa.Array) -> pa.Array:
    """(n,) times of a column, so many seconds later.

    What is no time, or too far away to be moved, stays as it stood, for the checks to reject.
    """
    values, is_bad = parse_time(times)
    is_far = pc.or_(pc.greater(values, _FARTHEST), pc.less(values, -_FARTHEST))
    is_bad = is_bad | pc.fill_null(is_far, False).to_numpy(zero_copy_only=False)
    moved = pc.add(values, seconds if isinstance(seconds, int) else pa.array(seconds, pa.int64()))
    if not is_bad.any():
        return moved
    as_bytes = times if pa.types.is_binary(times.type) else times.cast(pa.string())
    return pc.if_else(
        pa.array(is_bad), as_bytes.cast(pa.binary()), moved.cast(pa.string()).cast(pa.binary())
    )
