"""Tables as CSV and LaTeX, and numbers as people read them."""

import csv
import io
import re
from dataclasses import replace

import pytest

from experiments.reporting.document import Column, Estimate, Kind, Table
from experiments.reporting.formats import cell_text, counted, listed, p_clause
from experiments.reporting.latex import escaped, to_latex
from experiments.reporting.text_tables import to_csv

EVIL = 'a,b"c\n<script>&_%$#{}~^\\ β̂ — ü'
TABLE = Table(
    "mine",
    "A caption with 5 % & more",
    (
        Column("model", "Model"),
        Column("mean", "Mean", Kind.NUMBER, 3, "A group", ("deviation", "low", "high")),
        Column("share", "Share", Kind.PERCENT, 1, "A group"),
        Column("p", "p", Kind.P_VALUE),
    ),
    (
        (EVIL, Estimate(0.12345, 0.001, 0.1, 0.2, is_best=True, mark="†"), 0.5, 0.0004),
        ("plain", Estimate(2.0), None, 0.04),
        ("none", None, 1.0, None),
    ),
    (),
    breaks=(1,),
)


def test_a_csv_has_every_digit_and_every_part():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert list(rows[0]) == [
        "model", "mean", "mean_deviation", "mean_low", "mean_high", "share", "p"
    ]  # fmt: skip
    assert rows[0]["model"] == EVIL
    assert [float(rows[0][f"mean{part}"]) for part in ("", "_deviation", "_low", "_high")] == [
        0.12345, 0.001, 0.1, 0.2
    ]  # fmt: skip
    assert (rows[1]["mean"], rows[1]["mean_low"], rows[1]["share"]) == ("2.0", "", "")
    assert (rows[2]["mean"], rows[2]["p"]) == ("", "")


def test_latex_has_as_many_cells_in_every_row_and_escapes_what_is_special():
    text = to_latex(TABLE)
    assert r"\usepackage{booktabs}" in text
    assert re.findall(r"\\begin\{tabular\}\{(\w+)\}", text) == ["lrrr"]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + len(TABLE.rows)
    for row in rows:
        spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert len(re.findall(r"(?<!\\)&", row)) + spans == 3, row
    assert r"\textbf{0.123}$^\dagger$ $\pm$ 0.001" in text
    assert text.count(r"\midrule") == 2
    assert r"50.0~\%" in text
    assert r"\textless{}~0.001" in text


def test_a_long_table_goes_over_several_pages():
    text = to_latex(replace(TABLE, rows=TABLE.rows * 20))
    assert r"\usepackage{longtable}" in text
    assert re.findall(r"\\(?:begin|end)\{(\w+)\}", text) == ["longtable", "longtable"]
    head, _, body = text.partition(r"\endhead")
    assert head.count(r"\\") == 3  # caption, groups, titles
    assert body.count(r"\\") == 60


def test_every_special_character_of_latex_is_escaped():
    assert escaped("\\{}$&#%_^~<>|") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}\textless{}"
        r"\textgreater{}\textbar{}"
    )
    assert escaped("a\n\t b") == "a b"
    assert escaped("β̂ ± −1") == r"$\hat\beta$ $\pm$ $-$1"


@pytest.mark.parametrize(
    ("value", "kind", "decimals", "expected"),
    [
        (1234567, Kind.COUNT, 0, "1,234,567"),
        (0.5, Kind.NUMBER, 4, "0.5000"),
        (-0.00001, Kind.SIGNED, 3, "+0.000"),
        (-1.5, Kind.SIGNED, 1, "−1.5"),
        (0.1234, Kind.PERCENT, 1, "12.3 %"),
        (-0.1234, Kind.CHANGE, 1, "−12.3 %"),
        (0.00099, Kind.P_VALUE, 0, "< 0.001"),
        (0.001, Kind.P_VALUE, 0, "0.001"),
        (None, Kind.NUMBER, 4, "–"),
        (float("nan"), Kind.NUMBER, 4, "–"),
        (Estimate(0.25), Kind.NUMBER, 2, "0.25"),
        ("text", Kind.TEXT, 0, "text"),
    ],
)
def test_numbers_as_they_are_read(value, kind, decimals, expected):
    text = cell_text(value, Column("c", "C", kind, decimals))
    assert text.replace("\xa0", " ") == expected


def test_words_around_numbers():
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert (counted(1, "seed"), counted(1200, "seed")) == ("1 seed", "1,200 seeds")
    assert p_clause(0.0001).replace("\xa0", " ") == "p < 0.001"
    assert p_clause(0.25).replace("\xa0", " ") == "p = 0.250"
