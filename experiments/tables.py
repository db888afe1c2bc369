"""Tables 2, 3 and 4, and one of ours: their rows, what trains each, and the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cosernn_tf.evaluation.metrics import METRICS, Metric

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A row: a run that a flagfile trains, or a heuristic or oracle that needs no training."""

    name: str
    """Of the run, heuristic or oracle."""
    title: str
    """As in the paper."""
    paper: Mapping[str, float]
    """By metric; empty of what the paper does not have."""
    flagfile: Path | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper; those from 5 on are ours."""

    number: int
    caption: str
    head: str
    """Of the column of titles."""
    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]


REFERENCE: Final = "cosernn"
"""The row that relative figures are relative to; every table has it."""

_COSERNN_FLAGS: Final = FOLDER / "cosernn.flags"


def _row(
    name: str, title: str, metrics: Sequence[Metric], figures: str, flagfile: Path | None = None
) -> Row:
    values = map(float, figures.split())
    paper = {metric.name: value for metric, value in zip(metrics, values, strict=True)}
    return Row(name, title, paper, flagfile)


def _table_2() -> Table:
    def row(name: str, title: str, figures: str) -> Row:
        return _row(name, title, METRICS, figures)

    def trained(name: str, title: str, figures: str) -> Row:
        return _row(name, title, METRICS, figures, FOLDER / "table2" / f"{name}.flags")

    return Table(
        2,
        "models, heuristics and oracles",
        "Model",
        (
            row("last_any", "Last, any cxt",
                "0.6527 0.1721 10.0767 0.1133 21.9245 0.3585 0.4394 0.1300 0.1372"),
            row("last_same", "Last, same cxt",
                "0.5990 0.2094 9.3128 0.1009 23.5288 0.3398 0.4223 0.1154 0.1156"),
            row("avg_any", "Avg, any cxt",
                "0.6797 0.1835 10.0882 0.1034 23.7337 0.3485 0.4250 0.1225 0.1291"),
            row("avg_same", "Avg, same cxt",
                "0.6609 0.2087 9.3365 0.1031 23.4767 0.3476 0.4313 0.1199 0.1239"),
            row("popularity", "Popularity",
                "0.4278 0.2012 9.5670 0.0967 24.0233 0.3457 0.4338 0.1165 0.1190"),
            trained("rrn", "RRN",
                    "0.6918 0.1970 9.6689 0.1286 21.2980 0.3794 0.4678 0.1425 0.1594"),
            trained("latent_cross", "LatentCross",
                    "0.6921 0.1967 9.6669 0.1286 21.2610 0.3794 0.4678 0.1422 0.1592"),
            trained("jodie", "JODIE",
                    "0.6970 0.2079 9.3438 0.1303 21.2258 0.3836 0.4734 0.1450 0.1638"),
            _row("cosernn", "CoSeRNN", METRICS,
                 "0.7115 0.2319 8.6642 0.1507 19.5288 0.4011 0.4981 0.1574 0.1816",
                 _COSERNN_FLAGS),
            row("oracle_half", "Oracle half",
                "0.7077 0.4723 5.2294 0.3711 11.3131 0.7732 0.8052 0.5824 0.6163"),
            row("oracle_full", "Oracle full",
                "1.0000 0.9985 1.0067 0.9988 1.0068 0.8323 0.8861 0.6220 0.6951"),
        ),
        METRICS,
    )  # fmt: skip


_ABLATED: Final = tuple(
    metric for metric in METRICS if metric.k is None or metric.name in ("ap_100", "recall10_100")
)
"""Columns of Tables 3 and 4."""


def _ablation(number: int, caption: str, head: str, rows: Sequence[tuple[str, str, str]]) -> Table:
    """Of CoSeRNN; its row is that of no flagfile of the table's own."""
    return Table(
        number,
        caption,
        head,
        tuple(
            _row("cosernn", title, _ABLATED, figures, _COSERNN_FLAGS)
            if name == "cosernn"
            else _row(
                f"table{number}_{name}",
                title,
                _ABLATED,
                figures,
                FOLDER / f"table{number}" / f"{name}.flags",
            )
            for name, title, figures in rows
        ),
        _ABLATED,
    )


def _successor() -> Table:
    """Encore, and what of it is the model's and what the loss's."""

    def ours(name: str, title: str) -> Row:
        return Row(f"table5_{name}", title, {}, FOLDER / "table5" / f"{name}.flags")

    return Table(
        5,
        "Encore beside CoSeRNN, each on both losses (not in the paper)",
        "Model",
        (
            Row("last_any", "Last, any cxt", {}),
            Row("avg_same", "Avg, same cxt", {}),
            Row("cosernn", "CoSeRNN", {}, _COSERNN_FLAGS),
            ours("ranking", "CoSeRNN, ranking loss"),
            ours("encore_cosine", "Encore, cosine loss"),
            ours("encore", "Encore"),
            ours("encore_ranking_first", "Encore, ranking first"),
        ),
        METRICS,
    )


TABLES: Final = {
    2: _table_2(),
    3: _ablation(
        3,
        "CoSeRNN with access to increasing subsets of input features",
        "Features",
        (
            ("last_session", "Last sess. embeddings", "0.7062 0.1518 0.1731"),
            ("context", "+ curr. context", "0.7091 0.1527 0.1748"),
            ("num_tracks", "+ # tracks in last", "0.7103 0.1569 0.1807"),
            ("gap", "+ time since last", "0.7109 0.1569 0.1808"),
            ("cosernn", "+ last stream source", "0.7115 0.1574 0.1816"),
            ("current_stream_source", "+ curr. stream source", "0.7313 0.1777 0.2100"),
        ),
    ),
    4: _ablation(
        4,
        "CoSeRNN that encodes the session in different ways",
        "Pathways",
        (
            ("all", "All", "0.6966 0.1442 0.1623"),
            ("played", "Played", "0.7103 0.1567 0.1801"),
            ("cosernn", "Played, skipped", "0.7115 0.1574 0.1816"),
            ("played_skipped_all", "Played, skipped, all", "0.7114 0.1569 0.1809"),
        ),
    ),
    5: _successor(),
}
