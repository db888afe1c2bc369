"""What is searched: values or ranges of flags of `cosernn_tf.train`; light, unlike `advice`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cosernn_tf.config import ModelConfig, TrainConfig, require
from cosernn_tf.errors import UserError

PAPER: Final = (
    "learning_rate=0.001,0.0005,0.0001",
    "lstm_units=100,200,400",
    "batch_size=128,256,512",
)
"""The grids of λ, d and m (§5.2.2)."""

SAMPLERS: Final = ("grid", "random", "tpe")
PRUNERS: Final = ("none", "median", "asha")
"""What `--sampler` and `--pruner` take."""

RANGE: Final = ".."

_OF_MODEL: Final = ("lstm_units", "dense_units")
_OF_TRAINING: Final = ("learning_rate", "batch_size", "max_sessions", "clip_norm")
SEARCHED: Final = (*_OF_TRAINING, *_OF_MODEL)
"""Flags that can be searched: those that are numbers and do not say how long training is."""


@dataclass(frozen=True)
class Dimension:
    """A flag that is searched: one of some values, or a range, on a logarithmic scale."""

    flag: str
    values: tuple[int | float, ...]
    """Of a range its two ends."""
    is_range: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the flag takes whole numbers."""
        return isinstance(self.values[0], int)

    def __str__(self) -> str:
        return f"{self.flag}={(RANGE if self.is_range else ',').join(map(str, self.values))}"


@dataclass(frozen=True)
class Space:
    """All flags that are searched."""

    dimensions: tuple[Dimension, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(dimension.flag for dimension in self.dimensions)

    @property
    def size(self) -> int | None:
        """How many combinations there are; None with a range."""
        if any(dimension.is_range for dimension in self.dimensions):
            return None
        return math.prod(len(dimension.values) for dimension in self.dimensions)


def parse_space(searches: Sequence[str]) -> Space:
    """The space of some `flag=value,value` and `flag=lowest..highest`.

    Raises:
        UserError: One of them cannot be searched; the message names `--search`.
    """
    space = Space(tuple(map(_dimension, searches)))
    for flag in space.flags:
        require(
            space.flags.count(flag) == 1, f"--search names {flag} twice: give all values in one"
        )
    require(bool(space.dimensions), "--search is empty: give at least one")
    return space


def _dimension(search: str) -> Dimension:
    flag, _, text = search.partition("=")
    require(
        flag in SEARCHED, f"--search={search}: {flag!r} is none of {', '.join(sorted(SEARCHED))}"
    )
    is_range = RANGE in text
    number = int if isinstance(_default(flag), int) else float
    try:
        values = tuple(number(value) for value in text.split(RANGE if is_range else ","))
    except ValueError:
        raise UserError(
            f"--search={search}: expected {flag}= with numbers ({number.__name__}) as a,b,c or "
            "lowest..highest"
        ) from None
    require(len(set(values)) == len(values), f"--search={search} has a value twice")
    if is_range:
        require(
            len(values) == 2 and 0 < values[0] < values[1],
            f"--search={search}: a range is lowest..highest, and above 0",
        )
    for value in values:
        _check(flag, value)
    return Dimension(flag, values, is_range)


def _default(flag: str) -> Any:
    return getattr(ModelConfig() if flag in _OF_MODEL else TrainConfig(), flag)


def _check(flag: str, value: int | float) -> None:
    """Raises `UserError` if training would refuse the value whatever the other flags are."""
    changed: Mapping[str, Any] = {flag: value}
    dataclasses.replace(ModelConfig() if flag in _OF_MODEL else TrainConfig(), **changed)
