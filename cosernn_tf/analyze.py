"""`python -m cosernn_tf.analyze`: the figures of §4, of any log (Fig. 1 to 3).

    python -m cosernn_tf.analyze --split=training

Writes `<workspace>/analysis/` (see WORKSPACE.md) and prints short tables. It goes through the
records block by block: memory does not grow with the users.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.analysis.config import AnalysisConfig, AnalyzedSplit
from cosernn_tf.workspace import Workspace, open_sessions

_DEFAULT = AnalysisConfig()
flags.declare_key_flag("workspace")
_SPLIT = flags.DEFINE_enum_class(
    "split",
    _DEFAULT.split,
    AnalyzedSplit,
    "The sessions that are looked at: all of the log, as in the paper, or its training split.",
)
_SEED = flags.DEFINE_integer(
    "seed",
    _DEFAULT.seed,
    "Seed of what is drawn from contexts that have too much to be looked at whole.",
    lower_bound=0,
    upper_bound=2**63 - 1,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; by default analysis/ in the workspace."
)


def main(_: list[str]) -> None:
    config = AnalysisConfig(split=_SPLIT.value, seed=_SEED.value)
    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_sessions(workspace.sessions)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.analysis.report import format_text
    from cosernn_tf.analysis.run import analyze

    output = Path(_OUTPUT.value) if _OUTPUT.value else workspace.analysis
    analysis = analyze(workspace, config=config, output=output)
    print(format_text(analysis))
    print(f"Split: {config.split}. Written to {output}")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
