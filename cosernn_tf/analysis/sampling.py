"""Samples that depend on a seed and on what is drawn, not on the order in which it comes.

Every session, and every listen, has a number that looks uniform in [0, 1) and follows from the
seed, the user's id and its place in the user's history. It is drawn if that is below a rate. So the
same are drawn whatever the shards, blocks or other users are, and nothing has to be kept.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_UNUSED_BITS: Final = np.uint64(11)
_TWO_TO_MINUS_53: Final = 2.0**-53


def user_keys(user_id: Iterable[bytes], *, seed: int, stream: str) -> np.ndarray:
    """(U,) uint64, by which users' numbers differ.

    Args:
        user_id: (U,)
        seed: From 0, below 2⁶³.
        stream: Numbers of other streams are independent.
    """
    key = seed.to_bytes(8, "little")
    person = stream.encode()
    digests = (
        hashlib.blake2b(user, digest_size=8, key=key, person=person).digest() for user in user_id
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def uniforms(keys: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), float64: the `place`-th of each key, by SplitMix64.

    Args:
        keys: uint64, of any shape.
        place: int64 from 0, of a shape that broadcasts with it.
    """
    bits = keys + (place.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    bits = bits ^ (bits >> np.uint64(31))
    drawn: np.ndarray = (bits >> _UNUSED_BITS) * _TWO_TO_MINUS_53
    return drawn


def rates(available: np.ndarray, wanted: int) -> np.ndarray:
    """Below which numbers are drawn, so that about `wanted` of each kind are; 1 draws all.

    Args:
        available: Numbers of what there is.
        wanted: Of each kind.
    """
    return np.asarray(np.minimum(1.0, wanted / np.maximum(available, 1)))
