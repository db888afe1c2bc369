"""A table's figures by hand."""

import csv
import io
import math

import pytest

from experiments.table_report import COLUMNS, figures_of, to_csv, to_markdown
from experiments.table_runs import chosen_rows
from experiments.tables import TABLES

TABLE = chosen_rows(TABLES[4], ["table4_all", "cosernn", "table4_played"])
RUNS = {
    "table4_all": ["all-1", "all-2"],
    "cosernn": ["cosernn-1", "cosernn-2"],
    "table4_played": ["played-1", "played-2"],
}


def content_of(**cosines: float | None) -> dict:
    """As `metrics.json` has it, with nothing scored in track ranking."""
    return {
        "models": {
            name.replace("_", "-"): {
                "metrics": {"cosine": cosine, "ap_100": None, "recall10_100": 0.25}
            }
            for name, cosine in cosines.items()
        }
    }


@pytest.fixture
def figures():
    content = content_of(
        all_1=0.40, all_2=0.50, cosernn_1=0.55, cosernn_2=0.65, played_1=0.6, played_2=0.6
    )
    return figures_of(TABLE, RUNS, content)


def test_means_and_deviations_over_seeds(figures):
    found = figures["table4_all", "cosine"]
    assert found.mean == pytest.approx(0.45)
    assert found.deviation == pytest.approx(0.05 * math.sqrt(2))
    assert figures["table4_played", "cosine"].deviation == 0.0
    assert math.isnan(figures["table4_all", "ap_100"].mean)


def test_differences_from_the_reference_here_and_in_the_paper(figures):
    found = figures["table4_all", "cosine"]
    assert found.relative == pytest.approx(-0.25)
    assert found.paper_relative == pytest.approx(0.6966 / 0.7115 - 1)
    reference = figures["cosernn", "cosine"]
    assert reference.relative == reference.paper_relative == 0.0


def test_a_table_of_ours_has_no_column_of_the_papers():
    table = chosen_rows(TABLES[5], ["cosernn", "table5_encore"])
    metrics = {metric.name: 0.5 for metric in table.metrics}
    content = {"models": {name: {"metrics": metrics} for name in ("c-1", "e-1")}}
    figures = figures_of(table, {"cosernn": ["c-1"], "table5_encore": ["e-1"]}, content)
    text = to_markdown(table, figures, notes=[])
    assert "| Encore | 0.5000 | +0.0 % |" in " ".join(text.split())
    assert "Δ paper" not in text
    assert "in the paper." not in text
    row = next(csv.DictReader(io.StringIO(to_csv(table, figures))))
    assert (row["relative"], row["paper"], row["paper_relative"]) == ("0.0", "", "")


def test_a_table_without_its_reference_has_no_differences():
    table = chosen_rows(TABLES[4], ["table4_all"])
    figure = figures_of(table, {"table4_all": ["all-1"]}, content_of(all_1=0.4))
    found = figure["table4_all", "cosine"]
    assert found.mean == 0.4
    assert all(map(math.isnan, (found.relative, found.paper_relative, found.deviation)))
    assert "Δ:" not in to_markdown(table, figure, notes=[])


def test_the_table_as_markdown(figures):
    text = to_markdown(TABLE, figures, notes=["One note."])
    assert text.startswith(
        "# Table 4: CoSeRNN that encodes the session in different ways\n\n- One note.\n"
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == [
        "| Pathways        |          Cosine |       Δ | Δ paper | mAP, K = 100 |   Δ | Δ paper "
        "| Rec@10, K = 100 |      Δ | Δ paper |",
        "| --------------- | --------------: | ------: | ------: | -----------: | --: | ------: "
        "| --------------: | -----: | ------: |",
        "| All             | 0.4500 ± 0.0707 | -25.0 % |  -2.1 % |            - |   - |  -8.4 % "
        "| 0.2500 ± 0.0000 | +0.0 % | -10.6 % |",
        "| Played          | 0.6000 ± 0.0000 |  +0.0 % |  -0.2 % |            - |   - |  -0.4 % "
        "| 0.2500 ± 0.0000 | +0.0 % |  -0.8 % |",
        "| Played, skipped | 0.6000 ± 0.0707 |  +0.0 % |  +0.0 % |            - |   - |  +0.0 % "
        "| 0.2500 ± 0.0000 | +0.0 % |  +0.0 % |",
    ]


def test_heuristics_stand_beside_the_runs_of_table_2():
    table = chosen_rows(TABLES[2], ["last_any", "cosernn"])
    metrics = {metric.name: 0.5 for metric in table.metrics}
    content = {
        "models": {
            "last_any": {"metrics": metrics},
            "c-1": {"metrics": dict.fromkeys(metrics, 1.0)},
        }
    }
    figures = figures_of(table, {"cosernn": ["c-1"]}, content)
    assert figures["last_any", "session_rank_50"].relative == pytest.approx(-0.5)
    assert figures["last_any", "session_rank_50"].paper_relative == pytest.approx(
        21.9245 / 19.5288 - 1
    )
    blocks = to_markdown(table, figures, notes=[]).split("\n\n")
    assert [block.count("\n") for block in blocks[-3:]] == [3, 3, 4]
    assert all("| Last, any cxt |" in block for block in blocks[-3:])


def test_the_table_as_csv(figures):
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE, figures))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 9
    first = rows[0]
    assert (first["table"], first["row"], first["metric"], first["seeds"]) == (
        "4", "table4_all", "cosine", "2"
    )  # fmt: skip
    assert float(first["mean"]) == pytest.approx(0.45)
    assert float(first["relative"]) == pytest.approx(-0.25)
    assert float(first["paper"]) == 0.6966
    assert rows[1]["mean"] == rows[1]["relative"] == ""
