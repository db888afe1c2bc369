"""What is printed of models; test_analyze.py has the rest, as a user sees it."""

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.coverage import Coverage
from cosernn_tf.analysis.improvement import Improvement
from cosernn_tf.analysis.report import format_text
from cosernn_tf.analysis.result import IMPROVEMENT, TABLES, Analysis


def improvement(model: str, context: str, value: float | None, **changes: object) -> Improvement:
    dimension = "all" if context == "all" else "period"
    fields = {
        "model": model,
        "reference": "jodie",
        "metric": "cosine",
        "dimension": dimension,
        "context": context,
        "sessions": 1_234,
        "users": 9,
        "model_mean": 0.5,
        "reference_mean": 0.4,
        **{f"difference{end}": 0.1 for end in ("", "_low", "_high")},
        "improvement": value,
        "improvement_low": None if value is None else value - 0.05,
        "improvement_high": None if value is None else value + 0.05,
        **changes,
    }
    return Improvement(**fields)  # type: ignore[arg-type]


def text_of(*rows: Improvement) -> str:
    tables = {name: rows if name == IMPROVEMENT else () for name in TABLES}
    return format_text(
        Analysis(
            config=AnalysisConfig(),
            coverage=Coverage(1, 2, 3, 4, 5, 6),
            tables=tables,
            notes=("Nothing is known.",),
            provenance={},
        )
    )


def test_a_few_models_are_printed_by_context():
    text = text_of(
        improvement("a", "all", 0.25),
        improvement("a", "night", -0.0001),
        improvement("a", "night", 0.07, metric="session_rr_50", improvement_low=None),
        improvement("b", "all", None),
        improvement("b", "all", 0.9, metric="ap_25"),
    )
    a, b = text.index("Fig. 5, a over jodie"), text.index("Fig. 5, b over jodie")
    lines = text[a:b].splitlines()
    assert lines[2].split() == ["all", "1,234", "25.0", "[20.0,", "30.0]", "%", "-", "-", "-"]
    # No minus before what is rounded to zero, and no brackets without an interval.
    assert lines[3].split()[:8] == ["night", "1,234", "0.0", "[-5.0,", "5.0]", "%", "7.0", "%"]
    assert text[b:].splitlines()[2].split() == ["all", "1,234", "-", "-", "-", "-"]
    assert "90.0" not in text  # a metric that the paper does not draw
    assert text.endswith("Note: Nothing is known.\n")


def test_many_models_are_printed_for_all_sessions():
    rows = [improvement(name, context, 0.1) for name in "abcd" for context in ("all", "night")]
    text = text_of(*rows)
    lines = text[text.index("Fig. 5, over jodie") :].splitlines()
    assert [line.split()[0] for line in lines[2:6]] == list("abcd")
    assert lines[6:8] == ["", "By period and device: improvement.csv."]
    assert "night" not in text
