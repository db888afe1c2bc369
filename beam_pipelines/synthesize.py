"""Makes the embedded default log: listens, playlists and users of a synthetic world.

Results on this log compare models with each other only, never with the numbers of the paper, whose
data are private.

    python -m beam_pipelines.synthesize --num_users=400

It is written to `<workspace>/log/` (see WORKSPACE.md), the same bytes for the same flags.
"""

from pathlib import Path

from absl import flags, logging

from beam_pipelines.synthetic import SyntheticConfig, synthesize
from cosernn_tf import cli
from cosernn_tf.workspace import Workspace

_DEFAULTS = SyntheticConfig()

flags.declare_key_flag("workspace")
_NUM_USERS = flags.DEFINE_integer(
    "num_users",
    _DEFAULTS.num_users,
    "Users in the log (the paper has 200,000). More users take more time and disk, not memory.",
)
_NUM_TRACKS = flags.DEFINE_integer(
    "num_tracks", _DEFAULTS.num_tracks, "Tracks in the catalogue; playlists grow with it."
)
_NUM_DAYS = flags.DEFINE_integer(
    "num_days", _DEFAULTS.num_days, "Days covered, from 1 April 2019, 00:00 UTC."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Equal seeds give equal bytes.")
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite",
    False,
    "Replace a log of other options. One of the same options is left as it is in any case.",
)


def main(argv: list[str]) -> None:
    del argv
    config = SyntheticConfig(
        num_users=_NUM_USERS.value,
        num_tracks=_NUM_TRACKS.value,
        num_days=_NUM_DAYS.value,
        seed=_SEED.value,
    )
    output = Workspace(Path(cli.WORKSPACE.value)).log
    summary = synthesize(config, output, overwrite=_OVERWRITE.value)
    counts = ", ".join(f"{value:,} {name}" for name, value in summary["counts"].items())
    logging.info("%s: %s", output, counts)


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
