"""The rows of the paper's tables, and the flagfile of each."""

from typing import Any

import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.schema import FEATURES, PATHWAYS
from experiments.table_runs import OF_A_ROW_OR_RUN, chosen_rows, row_flags
from experiments.tables import FOLDER, REFERENCE, TABLES
from experiments.training_flags import training_flags

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
TRAINED = [(table, row) for table, row in ROWS if row.flagfile]


def flags_of(lines: list[str]) -> dict[str, str]:
    pairs = (line.removeprefix("--").partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def model_of(row) -> ModelConfig:
    """What `cosernn_tf.train` makes of the row's flags."""
    flags = flags_of(row_flags(row))
    lists: dict[str, Any] = {
        name: tuple(flags[name].split(",")) for name in ("features", "pathways") if name in flags
    }
    dropout = float(flags.get("dropout", 0.0))
    return ModelConfig(flags.get("model", "cosernn"), dropout=dropout, **lists)


def test_table_2_has_a_row_for_every_model_heuristic_and_oracle():
    titles = {row.name: row.title for row in TABLES[2].rows}
    assert {name: titles[name] for name in (*HEURISTICS, *ORACLES)} == {**HEURISTICS, **ORACLES}
    models = {row.name: model_of(row) for row in TABLES[2].rows if row.flagfile}
    assert models == {
        "rrn": ModelConfig("rrn", pathways=PATHWAYS),
        "latent_cross": ModelConfig("latent_cross", pathways=PATHWAYS),
        "jodie": ModelConfig("jodie", pathways=PATHWAYS),
        "cosernn": ModelConfig(),
    }


def test_table_3_adds_a_feature_a_row():
    assert [model_of(row) for row in TABLES[3].rows] == [
        ModelConfig(features=FEATURES[:number]) for number in range(1, 7)
    ]


def test_table_4_has_four_sets_of_pathways():
    assert [model_of(row).pathways for row in TABLES[4].rows] == [
        ("all",),
        ("played",),
        ("played", "skipped"),
        ("played", "skipped", "all"),
    ]


def test_table_5_has_encore_and_cosernn_on_both_losses():
    encore = ModelConfig("encore", dropout=0.1)
    found = {}
    for row in TABLES[5].rows:
        if row.flagfile:
            flags = flags_of(row_flags(row))
            weights: dict[str, Any] = {
                name: float(flags[name])
                for name in ("session_weight", "track_weight")
                if name in flags
            }
            found[row.name] = TrainConfig(model_of(row), loss=flags.get("loss", ""), **weights)
    assert found == {
        "cosernn": TrainConfig(loss="cosine"),
        "table5_ranking": TrainConfig(loss="ranking"),
        "table5_encore_cosine": TrainConfig(encore, loss="cosine"),
        "table5_encore": TrainConfig(encore, loss="ranking"),
        "table5_encore_ranking_first": TrainConfig(
            encore, loss="ranking", session_weight=0.3, track_weight=0.6
        ),
    }


def test_the_paper_has_one_cosernn():
    """Its figures stand in all of its tables, and its row in ours, too."""
    rows = [row for table, row in ROWS if row.name == REFERENCE]
    assert len(rows) == len(TABLES)
    for row in rows:
        assert row.flagfile == FOLDER / "cosernn.flags"
        assert row.paper.items() <= rows[0].paper.items()


@pytest.mark.parametrize("number", [2, 3, 4])
def test_every_row_has_the_papers_figures(number):
    table = TABLES[number]
    for row in table.rows:
        assert list(row.paper) == [metric.name for metric in table.metrics]
    # Copied, as their order in the paper is that of the text (§6.3, §6.4).
    oracles = ("oracle_half", "oracle_full", "table3_current_stream_source")
    best = max(
        (row for row in table.rows if row.name not in oracles), key=lambda row: row.paper["cosine"]
    )
    assert best.name == REFERENCE


def test_every_flagfile_of_a_table_is_a_row():
    found = {path for number in TABLES for path in (FOLDER / f"table{number}").glob("*")}
    assert found == {row.flagfile for _, row in TRAINED if row.name != REFERENCE}


@pytest.mark.parametrize("row", [row for _, row in TRAINED if row.name != REFERENCE],
                         ids=lambda row: row.name)  # fmt: skip
def test_a_flagfile_is_whole(row):
    """The sizes are those of CoSeRNN, and the run is called as the row."""
    lines = row.flagfile.read_text(encoding="utf-8").splitlines()
    flags = flags_of([line for line in lines if line.startswith("--")])
    assert flags.pop("flagfile") == "experiments/cosernn.flags"
    assert flags.pop("run") == row.name
    assert set(flags) == set(flags_of(row_flags(row)))


def test_rows_may_be_chosen():
    names = [row.name for row in chosen_rows(TABLES[4], ["cosernn", "table4_all"]).rows]
    assert names == ["table4_all", "cosernn"]
    with pytest.raises(UserError, match="--rows has 'jodie', which is none of table4_all, table4_"):
        chosen_rows(TABLES[4], ["jodie"])


def test_sizes_of_a_flagfile_and_flags_that_override_them(tmp_path):
    base, other = tmp_path / "base.flags", tmp_path / "other.flags"
    other.write_text(TrainConfig(model=ModelConfig("rrn", lstm_units=7)).to_flags())
    base.write_text(f"--flagfile={other}\n# a comment\n--run=mine\n")
    given = ["--lstm_units=9", "--overwrite"]
    flags = flags_of(list(training_flags(base, given, own=OF_A_ROW_OR_RUN)))
    assert set(flags) == set(flags_of(TrainConfig().to_flags().splitlines())) - {
        "model", "features", "pathways", "dropout", "loss", "session_weight", "track_weight", "seed"
    } | {"overwrite"}  # fmt: skip
    assert (flags["lstm_units"], flags["dense_units"]) == ("9", "200")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("rows", "unexpected argument 'rows'"),
        ("--model=rrn", "--model=rrn cannot be given: each row or run has its own --model"),
        ("--seed=2", "each row or run has its own --seed"),
        ("--run=mine", "each row or run has its own --run"),
    ],
)
def test_flags_that_a_table_cannot_take(flag, message):
    with pytest.raises(UserError, match=message):
        training_flags(FOLDER / "cosernn.flags", [flag], own=OF_A_ROW_OR_RUN)


def test_a_base_that_is_not_there():
    with pytest.raises(UserError, match=r"--base=.*nowhere\.flags does not exist"):
        training_flags(FOLDER / "nowhere.flags", [], own=())


def test_a_flagfile_that_names_one_that_is_not_there(tmp_path):
    base = tmp_path / "base.flags"
    base.write_text("--flagfile=nowhere.flags\n")
    with pytest.raises(UserError, match=r"base\.flags names nowhere\.flags, which does not exist"):
        training_flags(base, [], own=())
