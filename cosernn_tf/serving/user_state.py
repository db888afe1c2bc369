"""What is carried over of users: a record each, as an array of NumPy, and as bytes.

A record says what precedes a user's next session: the state of the model, the sum of Eq. 1, and the
last session. It has one size, whatever the user has listened to.
"""

import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.features import normalize
from cosernn_tf.models.stepping import Part
from cosernn_tf.schema import EMBEDDING_DIM

VERSION: Final = 1
"""Of `to_bytes`."""

_LAST_EMBEDDINGS: Final = ("last_played", "last_skipped", "last_all")
_HEADER: Final = np.dtype([("version", "<u4"), ("layout", "<u4"), ("heard", "<u4")])
_HEARD: Final = np.dtype("<i4")
NOTHING_HEARD: Final = np.zeros(0, _HEARD)


def record_type(state: Mapping[str, Part]) -> np.dtype:
    """Of users of a model with such a state (`stepping.state_of`); zeros are a user without past.

    Fields:
        sum: Σ l s_l over the sessions l = 1..t, float64: ū of Eq. 1 is it, at unit length.
        end: UTC seconds at which the last session ended.
        earliest: UTC seconds; a listen that starts before is late (`serving.settle`).
        last_played, last_skipped, last_all: s⁺, s⁻ and s of the last session.
        last_num_tracks, last_stream_source: N and z of the last session.
        age_bucket: Of the user.
        And the parts of the state, among them `sessions`, t.
    """
    vector = (EMBEDDING_DIM,)
    fields: list[tuple[str, str, tuple[int, ...]]] = [
        ("sum", "<f8", vector),
        ("end", "<i8", ()),
        ("earliest", "<i8", ()),
        *((name, "<f4", vector) for name in _LAST_EMBEDDINGS),
        ("last_num_tracks", "<i8", ()),
        ("last_stream_source", "<i4", ()),
        ("age_bucket", "<i4", ()),
        *(
            (name, np.dtype(part.dtype).newbyteorder("<").str, part.shape)
            for name, part in state.items()
        ),
    ]
    return np.dtype(fields)


def long_term(records: np.ndarray) -> np.ndarray:
    """ū before the next session of each, (n, dim) float32; zero without history (Eq. 1)."""
    return normalize(records["sum"].astype(np.float32))


def to_bytes(record: np.ndarray, heard: np.ndarray) -> bytes:
    """A user's record, and the rows of the track vocabulary in its sessions."""
    header = np.array((VERSION, _layout(record.dtype), len(heard)), _HEADER)
    return header.tobytes() + record.tobytes() + heard.astype(_HEARD).tobytes()


def from_bytes(data: bytes, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The record, (), and the (n,) rows, of `to_bytes`.

    Raises:
        UserError: They are of another version or model, or damaged.
    """
    size = _HEADER.itemsize + dtype.itemsize
    if len(data) >= _HEADER.itemsize:
        version, layout, heard = np.frombuffer(data, _HEADER, 1)[0].tolist()
        same = version == VERSION and layout == _layout(dtype)
        if same and len(data) == size + heard * _HEARD.itemsize:
            record = np.frombuffer(data, dtype, 1, _HEADER.itemsize)[0]
            return record, np.frombuffer(data, _HEARD, heard, size)
    raise UserError(
        "the store has a state of a user that is damaged, or of another model or release: empty "
        "the store of states, so that they are made again"
    )


def _layout(dtype: np.dtype) -> int:
    return zlib.crc32(repr(dtype.descr).encode())
