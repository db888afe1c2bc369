"""Batches without padding: the sessions of all windows in rows, one step after the other.

Windows are sorted by length, the longest first: those that have a step are the first ones. The rows
of step 0 are the first sessions of all windows, those of step 1 the second sessions of the windows
that have one, and so on. Of such a batch a model's inputs are `(rows, 1, ...)` per session and
`(windows, ...)` per user. A layer that takes each session by itself does not see a difference;
recurrent layers, and those that bring users and sessions together, ask `current()`.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Packing:
    """Where the sessions of W windows are in N rows."""

    active: tf.Tensor
    """(steps,) int32: windows that have a session at each step; never more than at the one before.
    At the first it is all of them."""
    begins: tf.Tensor
    """(steps, 1) int32: the first row of each step."""
    ends: tf.Tensor
    """(steps, 1) int32: the row after the last of each step."""
    step_of_row: tf.Tensor
    """(N,) int32."""
    window_of_row: tf.Tensor
    """(N,) int32."""

    @classmethod
    def of(cls, active: tf.Tensor) -> "Packing":
        ends = tf.cumsum(active)
        begins = ends - active
        steps = tf.repeat(tf.range(tf.size(active)), active)
        windows = tf.range(tf.size(steps)) - tf.gather(begins, steps)
        return cls(active, begins[:, None], ends[:, None], steps, windows)

    @classmethod
    def of_padded(cls, windows: tf.Tensor, steps: tf.Tensor) -> "Packing":
        """Of windows that all have as many steps, or are padded to it."""
        return cls.of(tf.fill([steps], windows))

    @property
    def steps(self) -> tf.Tensor:
        return tf.size(self.active)

    def before(self, first: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """(N, dim): the row of each window's step before; at the first, that of `first`.

        Args:
            first: (W, dim).
            rows: (N, dim).
        """
        # One step back are as many rows as the step before has windows; `first` is a step of all.
        active = tf.concat([tf.shape(first)[:1], self.active[:-1]], axis=0)
        places = tf.range(tf.shape(rows)[0]) + tf.shape(first)[0]
        places -= tf.gather(active, self.step_of_row)
        return tf.gather(tf.concat([first, rows], axis=0), places)

    def padded(self, rows: tf.Tensor) -> tf.Tensor:
        """(N, ...) → (W, steps, ...); padding repeats rows of other windows."""
        windows = tf.range(self.active[0])[:, None]
        places = tf.minimum(self.begins[:, 0] + windows, tf.shape(rows)[0] - 1)
        return tf.gather(rows, places)

    def rows(self, padded: tf.Tensor) -> tf.Tensor:
        """(W, steps, ...) → (N, ...)."""
        return tf.gather_nd(padded, tf.stack([self.window_of_row, self.step_of_row], axis=1))


class _Scope(threading.local):
    """Each replica of a strategy traces the model in a thread of its own."""

    packing: Packing | None = None


_scope = _Scope()


@contextlib.contextmanager
def packed(packing: Packing) -> Iterator[None]:
    """Within, models are called on rows."""
    before, _scope.packing = _scope.packing, packing
    try:
        yield
    finally:
        _scope.packing = before


def current() -> Packing | None:
    """None: models are called on padded batches, `(windows, steps, ...)`."""
    return _scope.packing


def in_sequence(values: tf.Tensor) -> tf.Tensor:
    """`(windows, steps, ...)`, of such ones or of rows `(rows, 1, ...)`.

    Padding is on the right, and may hold what other windows have.
    """
    packing = current()
    return values if packing is None else packing.padded(values[:, 0])


def as_called(values: tf.Tensor) -> tf.Tensor:
    """What `in_sequence` had, of `(windows, steps, ...)`."""
    packing = current()
    return values if packing is None else packing.rows(values)[:, None]
