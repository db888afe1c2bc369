"""Differences of two models on sessions of users, of a mean that is known."""

from collections.abc import Iterator

import numpy as np

from cosernn_tf.evaluation.user_sums import UserSums


def planted(
    rng: np.random.Generator,
    counts: np.ndarray,
    *,
    columns: int,
    correlation: float,
    mean: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Normal differences of unit variance, of which users have the share `correlation`.

    Args:
        rng: Source of it all.
        counts: (users,) sessions.
        columns: Pairs of models, each with differences of its own.
        correlation: Of two sessions of a user.
        mean: Of all differences.

    Returns:
        (sessions,) user of each session, and (columns, sessions) differences.
    """
    users = np.repeat(np.arange(len(counts)), counts)
    of_users = rng.normal(0, np.sqrt(correlation), (columns, len(counts)))
    of_sessions = rng.normal(0, np.sqrt(1 - correlation), (columns, len(users)))
    return users, mean + of_users[:, users] + of_sessions


def sums_of(users: np.ndarray, differences: np.ndarray, size: int) -> UserSums:
    """Of (columns, sessions) differences; NaN is not scored, in all columns alike."""
    is_scored = ~np.isnan(differences[0])
    sums = [np.bincount(users[is_scored], row[is_scored], size) for row in differences]
    return UserSums(np.bincount(users[is_scored], minlength=size), np.array(sums))


def resampled_users(users: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The users of each resample, one by one."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(users, size=users)
