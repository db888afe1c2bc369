"""What a run computes on: one device, several, or those of several processes."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from cosernn_tf.errors import UserError
from cosernn_tf.training.cluster import ALONE, TF_CONFIG, Cluster, read_cluster
from cosernn_tf.training.sharing import ALL, Share

_LOSSES: Final = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
"""What TensorFlow says of another process that does not answer."""


@dataclass(frozen=True)
class Devices:
    """A strategy, and which of its replicas are of this process."""

    strategy: tf.distribute.Strategy
    share: Share = ALL
    cluster: Cluster = ALONE

    @property
    def is_chief(self) -> bool:
        """Whether it is this process that writes what remains of a run."""
        return self.cluster.worker == 0

    def on_each_replica(self, function: Callable[[int], Any]) -> list[Any]:
        """Results of `function(k)` for the replicas of this process, k being 0, 1 ...; in graphs.

        The parts of a batch come as arguments of the graph, a list for all replicas, so that they
        have one signature.
        """

        def on_replica() -> Any:
            context = tf.distribute.get_replica_context()
            return function(_static(context.replica_id_in_sync_group) - self.share.first)

        results = self.strategy.run(on_replica)
        return list(self.strategy.experimental_local_results(results))

    def sum_of_replicas(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Within `on_each_replica`."""
        context = tf.distribute.get_replica_context()
        return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(values)))

    def sum_of_workers(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Sums over processes, the same in each; every process has to ask."""
        mine = np.array(values, np.float64)
        if self.cluster.num_workers == 1:
            return mine
        return np.array(_sum(self, tf.constant(mine)))

    def as_chief(self, text: str) -> str:
        """The chief's text; every process has to ask."""
        if self.cluster.num_workers == 1:
            return text
        mine = np.frombuffer(text.encode() if self.is_chief else b"", np.uint8)
        (length,) = self.sum_of_workers([len(mine)])
        padded = np.zeros(int(length), np.float64)
        padded[: len(mine)] = mine
        return self.sum_of_workers(padded).astype(np.uint8).tobytes().decode()

    def is_begun(self) -> bool:
        """Waits, in a process that is not the chief's, until the chief begins; False: it does not.

        See `leading`.
        """
        return bool(self.sum_of_workers([0.0])[0])

    def require_same(self, identity: str) -> None:
        """Raises `UserError` in every process unless all have the same."""
        differs = self.as_chief(identity) != identity
        (others,) = self.sum_of_workers([differs])
        if others:
            who = "this process has" if differs else f"{int(others)} of the other processes have"
            raise UserError(
                f"{who} other flags, session sequences or track embeddings than the chief: give "
                "the same command and data to all"
            )

    def copy_from_chief(self, variables: Sequence[keras.Variable]) -> None:
        """Gives variables the values that they have in the chief's process."""
        if self.cluster.num_workers == 1:
            return
        for variable in variables:
            values = np.asarray(variable.numpy(), np.float64)
            found = self.sum_of_workers((values if self.is_chief else 0 * values).ravel())
            variable.assign(found.reshape(values.shape).astype(variable.numpy().dtype))


def one_device() -> Devices:
    """TensorFlow's own choice: the first GPU, or the CPU."""
    return Devices(tf.distribute.get_strategy())


def open_devices(name: str) -> Devices:
    """What `--strategy` asks for; of several processes, once all are there.

    Raises:
        UserError: TF_CONFIG is missing or wrong.
    """
    if name == "none":
        return one_device()
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if name == "mirrored":
        names = [device.name for device in tf.config.list_logical_devices(kind)]
        logging.info("Training on %d %s%s", len(names), kind, _plural(len(names)))
        return Devices(_mirrored(*names), Share(0, len(names), len(names)))
    cluster = read_cluster(os.environ)
    logging.info("Waiting for %d processes of %s", cluster.num_workers, TF_CONFIG)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"the processes of {TF_CONFIG} did not find each other: {_first_line(error)}"
        ) from error
    replicas = strategy.num_replicas_in_sync
    count = replicas // cluster.num_workers
    logging.info("Worker %d of %d, %d %s each", cluster.worker, cluster.num_workers, count, kind)
    return Devices(strategy, Share(cluster.worker * count, count, replicas), cluster)


@contextlib.contextmanager
def leading(devices: Devices) -> Iterator[Callable[[str], None]]:
    """Yields to the chief what makes the others begin; they are let go if it is not called.

    What it takes identifies the run: all processes must have the same.
    """
    is_begun = False

    def begin(identity: str) -> None:
        nonlocal is_begun
        is_begun = True
        devices.sum_of_workers([1.0])
        devices.require_same(identity)

    try:
        yield begin
    finally:
        if not is_begun:
            devices.sum_of_workers([0.0])


@contextlib.contextmanager
def lost_workers_told(devices: Devices) -> Iterator[None]:
    """An error of a worker is seen by the others as one of their connection."""
    try:
        yield
    except _LOSSES as error:
        if devices.cluster.num_workers == 1:
            raise
        raise UserError(
            f"worker {devices.cluster.worker} lost another one, whose messages may say why "
            f"({type(error).__name__}): the same commands go on from the last checkpoint"
        ) from error


@functools.cache
def _mirrored(*names: str) -> tf.distribute.MirroredStrategy:
    """One of a process: a second one would number its sums like the first."""
    return tf.distribute.MirroredStrategy(names)


@tf.function(reduce_retracing=True)
def _sum(devices: Devices, values: tf.Tensor) -> tf.Tensor:
    def of_replica(replica: int) -> tf.Tensor:
        # A copy on the device of the replica, where it is to be summed.
        mine = tf.identity(values) if replica == 0 else tf.zeros_like(values)
        return devices.sum_of_replicas([mine])[0]

    return devices.on_each_replica(of_replica)[0]


def _static(replica: Any) -> int:
    return int(tf.get_static_value(replica))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
