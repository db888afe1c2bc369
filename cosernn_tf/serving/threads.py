"""How TensorFlow uses threads in a process that answers requests."""

import contextlib

import tensorflow as tf


def one_operation_at_a_time() -> None:
    """Runs the operations of a step one after the other, each still by several threads if large.

    They are so small that handing them to other threads takes longer than it saves, and where other
    processes want the cores, too, those threads are waited for. Without effect once TensorFlow has
    run anything.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(1)
