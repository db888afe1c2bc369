"""Means and their differences with users as clusters: bootstrap-t intervals and tests.

Sessions of one user resemble each other, so that they tell less than as many independent ones. What
is drawn at random here is users, each with all of their sessions.

User g has n_g scored sessions, whose differences of two models sum up to D_g. With the mean
difference m = Σ D_g / Σ n_g and the residuals e_g = D_g - m n_g of G users, the standard error and
t are

    se² = G / (G - 1) · Σ e_g² / (Σ n_g)²        t = m / se

A resample draws G users with replacement, user g w_g times. With its mean m* and its own standard
error, t* = (m* - m) / se* is what t would be if there were no difference. The p-value is the share
of resamples with |t*| >= |t|. The interval is m ± c se, where c is a quantile of |t*|, and excludes
zero exactly if the p-value is at most 1 - `LEVEL`. `benchmarks.calibration` holds it against other
bootstraps. (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 12; Cameron,
Gelbach and Miller, Bootstrap-Based Improvements for Inference with Clustered Errors, 2008.)

All of it needs n_g and sums of scores only. Σ w n, Σ w n², Σ w e, Σ w e n and Σ w e² of many
resamples are one matrix product, from which m* and se* follow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from tqdm import tqdm

from cosernn_tf.evaluation.user_sums import UserSums

LEVEL: Final = 0.95
"""Of the intervals."""
MIN_RESAMPLES: Final = 100
MIN_USERS: Final = 5
"""With fewer there is neither interval nor p-value: too many resamples are of one user only."""

_WEIGHTS_AT_ONCE: Final = 2**26
"""Of users in resamples, a byte each: 64 MB."""
_DRAWN_AT_ONCE: Final = 2**16
"""Users that are drawn at once: they stay in cache. No result depends on these three."""
_ELEMENTS_AT_ONCE: Final = 2**21
"""Of a block of either factor of the matrix product: 16 MB."""
_NO_SPREAD: Final = 1e-12
"""What is left of a sum of squares by rounding alone is less than this share of it."""
_PATIENCE_SECONDS: Final = 2.0
"""What takes no longer shows no progress."""

Contrast = tuple[int, int | None]
"""Places of two models, the first less the second; or of one, and None, for its own mean."""


@dataclass(frozen=True)
class Bootstrap:
    """How resamples are drawn."""

    resamples: int
    seed: int = 1


@dataclass(frozen=True)
class ClusteredMeans:
    """Of one metric: (contrasts,) float64 each."""

    users: int
    """With a scored session."""
    means: np.ndarray
    """NaN without users."""
    standard_errors: np.ndarray
    """NaN with fewer than two users."""
    low: np.ndarray
    high: np.ndarray
    """Ends of the interval; NaN with fewer than `MIN_USERS`, and where resamples set no bound, as
    too many of them are of users who all have the same mean."""
    p_values: np.ndarray
    """Two-sided, of the mean being zero, from 1 / (resamples + 1); NaN with fewer than
    `MIN_USERS`."""


def clustered_means(
    metrics: Sequence[UserSums], contrasts: Sequence[Contrast], bootstrap: Bootstrap
) -> list[ClusteredMeans]:
    """Tests and intervals of every contrast, by metric.

    For a metric, users without a session that it scores are not drawn: what it gets depends neither
    on them nor on other metrics. Metrics that score the same users share resamples.

    Args:
        metrics: Of the same models, users in the same order.
        contrasts: What is estimated; at least one.
        bootstrap: At least `MIN_RESAMPLES`.

    Raises:
        ValueError: There are too few resamples.
    """
    if bootstrap.resamples < MIN_RESAMPLES:
        raise ValueError(f"{bootstrap.resamples} resamples, expected at least {MIN_RESAMPLES}")
    groups: dict[bytes, list[int]] = {}
    for place, metric in enumerate(metrics):
        groups.setdefault(np.packbits(metric.counts > 0).tobytes(), []).append(place)
    found: dict[int, ClusteredMeans] = {}
    with tqdm(
        total=len(groups) * bootstrap.resamples,
        desc="bootstrap",
        unit="resample",
        delay=_PATIENCE_SECONDS,
    ) as bar:
        for places in groups.values():
            samples = [_Sample(metrics[place], contrasts) for place in places]
            ratios: list[list[np.ndarray]] = [[] for _ in samples]
            if samples[0].users >= MIN_USERS:
                for weights in _weights(samples[0].users, bootstrap):
                    for sample, of_sample in zip(samples, ratios, strict=True):
                        of_sample.append(sample.ratios(weights))
                    bar.update(len(weights))
            else:
                bar.update(bootstrap.resamples)
            for place, sample, of_sample in zip(places, samples, ratios, strict=True):
                found[place] = sample.tested(of_sample)
    return [found[place] for place in range(len(metrics))]


def _weights(users: int, bootstrap: Bootstrap) -> Iterator[np.ndarray]:
    """How often each resample draws each user: (some resamples, users) uint8."""
    random = np.random.default_rng(bootstrap.seed)
    some = max(_WEIGHTS_AT_ONCE // users, 1)
    few = max(_DRAWN_AT_ONCE // users, 1)
    for start in range(0, bootstrap.resamples, some):
        weights = np.empty((min(some, bootstrap.resamples - start), users), np.uint8)
        for first in range(0, len(weights), few):
            rows = weights[first : first + few]
            places = random.integers(users, size=rows.shape)
            places += users * np.arange(len(rows))[:, None]
            # That one of many users is drawn 256 times has a probability below 1e-500.
            rows[:] = np.bincount(places.ravel(), minlength=rows.size).reshape(rows.shape)
        yield weights


class _Sample:
    """The users whom a metric scores, and what resamples of them give."""

    def __init__(self, metric: UserSums, contrasts: Sequence[Contrast]) -> None:
        is_scored = metric.counts > 0
        self.users = int(np.count_nonzero(is_scored))
        self._counts = metric.counts[is_scored].astype(np.float64)
        self._sums = metric.sums[:, is_scored]
        self._models = len(self._sums)
        # Behind the models stands one whose scores are all zero: the other of one that is alone.
        self._first = np.array([first for first, _ in contrasts])
        self._second = np.array([self._models if j is None else j for _, j in contrasts])
        with np.errstate(invalid="ignore"):
            self._model_means = self._sums.sum(axis=1) / self._counts.sum()
        self._means = self._differences(self._model_means[:, None])[:, 0]
        self._errors = np.full(len(contrasts), np.nan)
        if self.users > 1:
            squares = sum(
                np.square(self._differences(self._residuals(users))).sum(axis=1)
                for users in self._blocks()
            )
            self._errors = np.sqrt(squares * self._correction) / self._counts.sum()

    def ratios(self, weights: np.ndarray) -> np.ndarray:
        """(contrasts, resamples): |t*|, infinite where a resample has no spread."""
        models = self._models
        products = np.zeros((2 + 2 * models + len(self._first), len(weights)))
        for users in self._blocks(len(weights)):
            counts, residuals = self._counts[users], self._residuals(users)
            squares = np.square(self._differences(residuals))
            factor = np.vstack([counts, counts**2, residuals, counts * residuals, squares])
            products += factor @ weights[:, users].astype(np.float64).T
        count, count_squares, residuals, cross, squares = np.split(
            products, [1, 2, 2 + models, 2 + 2 * models]
        )
        # Residuals of the resample's own mean are e - (m* - m) n.
        shift = self._differences(residuals / count)
        around = squares + np.square(shift) * count_squares
        spread = around - 2.0 * shift * self._differences(cross)
        errors = np.sqrt(np.maximum(spread, 0.0) * self._correction) / count
        ratios = np.full_like(shift, np.inf)
        np.divide(np.abs(shift), errors, out=ratios, where=spread > _NO_SPREAD * around)
        return ratios

    def tested(self, ratios: Sequence[np.ndarray]) -> ClusteredMeans:
        """What follows from |t*| of all resamples; without any there are no intervals."""
        means, errors = self._means, self._errors
        if not ratios:
            absent = np.full(len(means), np.nan)
            return ClusteredMeans(self.users, means, errors, absent, absent, absent)
        null = np.concatenate(ratios, axis=1)
        number = null.shape[1] + 1
        rank = int(np.ceil(LEVEL * number)) - 1
        critical = np.partition(null, rank, axis=1)[:, rank]
        # Means that are the same for all users leave nothing to draw.
        varies = errors > 0.0
        own = np.where(means == 0.0, 0.0, np.inf)
        np.divide(np.abs(means), errors, out=own, where=varies)
        # Of few users, equal ratios come about in several ways, and differ by rounding.
        reached = np.count_nonzero(null >= own[:, None] * (1.0 - 1e-9), axis=1)
        p_values = np.where(varies, 1 + reached, np.where(means == 0.0, number, 1)) / number
        half = np.multiply(critical, errors, out=np.zeros_like(means), where=varies)
        half[np.isinf(half)] = np.nan
        return ClusteredMeans(self.users, means, errors, means - half, means + half, p_values)

    @property
    def _correction(self) -> float:
        return self.users / (self.users - 1)

    def _blocks(self, resamples: int = 1) -> Iterator[slice]:
        """Of users, so that neither factor of the product is large."""
        rows = max(2 + 2 * self._models + len(self._first), resamples)
        step = max(_ELEMENTS_AT_ONCE // rows, 1)
        for start in range(0, self.users, step):
            yield slice(start, start + step)

    def _residuals(self, users: slice) -> np.ndarray:
        """(models, users): sums, less those that the mean would give."""
        return self._sums[:, users] - self._counts[users] * self._model_means[:, None]

    def _differences(self, values: np.ndarray) -> np.ndarray:
        """(models, n) → (contrasts, n)."""
        padded = np.vstack([values, np.zeros(values.shape[1])])
        differences: np.ndarray = padded[self._first] - padded[self._second]
        return differences
