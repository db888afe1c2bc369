"""Trains a small CoSeRNN for an epoch, for `benchmarks.training` to look at the memory it takes.

python -m benchmarks.training_epoch --sessions=DIR --sessions_per_block=10000
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli

_SESSIONS = flags.DEFINE_string("sessions", None, "Directory of session sequences.", required=True)
_SESSIONS_PER_BLOCK = flags.DEFINE_integer(
    "sessions_per_block", 10_000, "Sessions that training holds at once."
)


def main(argv: list[str]) -> None:
    del argv
    import keras

    from benchmarks.training_contenders import new_step
    from benchmarks.training_log import open_feed
    from cosernn_tf.config import ModelConfig

    config = ModelConfig(lstm_units=16, dense_units=16)
    feed = open_feed(
        Path(_SESSIONS.value), config.inputs, sessions_per_block=_SESSIONS_PER_BLOCK.value
    )
    keras.utils.set_random_seed(1)
    step = new_step(config, feed.data_spec())
    pairs = 0
    for parts in feed.training_batches(epoch=1, batch_size=8, max_sessions=400, seed=1):
        pairs += step(parts).pairs
    print(f"{pairs:,} sessions")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
