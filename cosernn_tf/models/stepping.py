"""One session at a time: what layers keep of a user's earlier sessions is taken and handed on.

Within `carrying`, a model is called on `(batch, 1, ...)`, the next session of each of a batch of
users. Layers that look along the sessions take what they need of the earlier ones from the scope,
and leave there what they need next time. Each says what that is by `carries()`, so that this works
for any model that is made of such layers. Before a user's first session all of it is zero.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import keras
import tensorflow as tf

SESSIONS: Final = "sessions"
"""State of every model: the user's earlier sessions, `(batch,)` int32."""


@dataclass(frozen=True)
class Part:
    """A tensor of the state, `(batch, *shape)`."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@runtime_checkable
class Carrying(Protocol):
    """A layer that looks along the sessions."""

    name: str

    def carries(self) -> Mapping[str, Part]:
        """What it takes from one session to the next; the layer is built."""
        ...


@dataclass(frozen=True)
class Carried:
    """The state of a batch of users, on its way over one session."""

    before: Mapping[str, tf.Tensor]
    """As `state_of` names it."""
    after: dict[str, tf.Tensor] = field(default_factory=dict)

    def take(self, layer: Carrying, first: Sequence[tf.Tensor] = ()) -> list[tf.Tensor]:
        """The parts of a layer, in the order of `carries()`; `first` before a first session.

        Args:
            layer: Whose they are.
            first: `(batch, ...)` each; none: zeros.
        """
        parts = [self.before[_name(layer, part)] for part in layer.carries()]
        if not first:
            return parts
        is_first = self.before[SESSIONS] == 0
        return [
            tf.where(tf.reshape(is_first, [-1] + [1] * (len(part.shape) - 1)), begin, part)
            for begin, part in zip((tf.cast(b, tf.float32) for b in first), parts, strict=True)
        ]

    def leave(self, layer: Carrying, parts: Sequence[tf.Tensor]) -> None:
        """What the layer takes next time, in the order of `carries()`."""
        for (name, spec), part in zip(layer.carries().items(), parts, strict=True):
            self.after[_name(layer, name)] = tf.cast(part, spec.dtype)


class _Scope(threading.local):
    carried: Carried | None = None


_scope = _Scope()


@contextlib.contextmanager
def carrying(state: Mapping[str, tf.Tensor]) -> Iterator[Carried]:
    """Within, a model takes one session of each user, and leaves the state after it in `after`."""
    before, carried = _scope.carried, Carried(state)
    _scope.carried = carried
    try:
        yield carried
    finally:
        _scope.carried = before
    carried.after[SESSIONS] = state[SESSIONS] + 1


def current() -> Carried | None:
    """None: models are called on whole sequences."""
    return _scope.carried


def state_of(model: keras.Model) -> dict[str, Part]:
    """The parts of the state of a model, each with a name; zeros are the state of a new user."""
    state = {SESSIONS: Part((), "int32")}
    for layer in model.layers:
        if isinstance(layer, Carrying):
            state |= {_name(layer, name): part for name, part in layer.carries().items()}
    return state


def _name(layer: Carrying, part: str) -> str:
    return f"{layer.name}_{part}"
