"""`python -m cosernn_tf.analyze`: the figures of §4 and Fig. 5, of any log.

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
_SAMPLE_SESSIONS = flags.DEFINE_integer(
    "sample_sessions",
    _DEFAULT.sample_sessions,
    "About so many sessions of each period and device have their nearest one searched (Fig. 3); "
    "contexts with fewer are looked at whole.",
    lower_bound=1,
)
_SAMPLE_LISTENS = flags.DEFINE_integer(
    "sample_listens",
    _DEFAULT.sample_listens,
    "Of about so many listens of each period and device all pairs are compared (Fig. 2a); it takes "
    "memory by its square; contexts with fewer are looked at whole.",
    lower_bound=2,
)
_EVALUATION = flags.DEFINE_string(
    "evaluation",
    None,
    "Directory that cosernn_tf.evaluate has written, for Fig. 5; by default evaluation/ in the "
    "workspace, if it is there.",
)
_MODELS = flags.DEFINE_list(
    "models",
    None,
    "Models of the evaluation to compare (Fig. 5), comma-separated; all runs if not given.",
)
_REFERENCE = flags.DEFINE_string(
    "reference",
    None,
    "The model that they are compared with; by default the first run of JODIE, or without one the "
    "heuristic avg_any.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; by default analysis/ in the workspace."
)


def main(_: list[str]) -> None:
    config = AnalysisConfig(
        split=_SPLIT.value,
        seed=_SEED.value,
        sample_sessions=_SAMPLE_SESSIONS.value,
        sample_listens=_SAMPLE_LISTENS.value,
        models=None if _MODELS.value is None else tuple(_MODELS.value),
        reference=_REFERENCE.value,
    )
    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_sessions(workspace.sessions)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.analysis.report import format_text
    from cosernn_tf.analysis.run import analyze

    output = Path(_OUTPUT.value) if _OUTPUT.value else workspace.analysis
    evaluation = Path(_EVALUATION.value) if _EVALUATION.value else None
    analysis = analyze(workspace, config=config, evaluation=evaluation, output=output)
    print(format_text(analysis))
    print(f"Split: {config.split}. Written to {output}")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
