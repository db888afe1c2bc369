"""Whether models lean on the offset where that is worth it."""

import math
from typing import Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosernn_tf.evaluation.breakdowns import AttentionCalibration, calibrate_attention
from cosernn_tf.evaluation.groups import EARLIER_SESSIONS
from cosernn_tf.evaluation.heuristics import AVG_ANY
from cosernn_tf.evaluation.metrics import COSINE
from cosernn_tf.evaluation.scores import ATTENTION_OFFSET
from experiments.reporting.document import Column, Estimate, Figure, Kind, Panel, Table
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.lines import Line, Place, draw_lines
from experiments.reporting.formats import signed
from experiments.reporting.models import Model
from experiments.reporting.report_data import Evaluated
from experiments.reporting.words import quoted

_MOST_MODELS: Final = 6
_KEYS: Final = ("model", "user_id", "session_start", EARLIER_SESSIONS)


def attention_figure(evaluated: Evaluated) -> Figure | None:
    """None if no model has attention."""
    models = _models(evaluated)
    if not models or AVG_ANY not in evaluated.comparison.by_name:
        return None
    table = pq.read_table(
        evaluated.grouped_scores,
        columns=[*_KEYS, COSINE, ATTENTION_OFFSET],
        filters=pc.field("model").isin([AVG_ANY, *(model.name for model in models)]),
    )
    found = calibrate_attention(table)
    name = "calibration"
    panels, rows, says = [], [], []
    for calibration in found:
        model = evaluated.comparison.by_name[calibration.model]
        bins = calibration.bins.to_pylist()
        if not bins:
            continue
        places = tuple(
            Place(row["attention"], row["gain"], row["gain_low"], row["gain_high"]) for row in bins
        )
        sentence = _sentence(model, calibration)
        says.append(sentence)
        drawing = draw_lines(
            [Line("", evaluated.looks[model.name], places)],
            Axis("attention on the offset, β̂"),
            Axis("gain in cosine", has_zero=True),
            Words(f"{name}-{model.name}", f"Gain by attention of {model.title}", sentence),
        )
        panels.append(Panel(model.title, drawing))
        rows += [
            (
                model.title,
                row["least"],
                row["greatest"],
                row["attention"],
                row["sessions"],
                row["users"],
                row["cosine"],
                row["long_term_cosine"],
                Estimate(row["gain"], low=row["gain_low"], high=row["gain_high"]),
            )
            for row in bins
        ]
    if not panels:
        return None
    table_of_bins = Table(
        name,
        "Gain over the long-term mean, by attention on the offset",
        (
            Column("model", "Model"),
            Column("least", "From", Kind.NUMBER, decimals=3, group="β̂"),
            Column("greatest", "To", Kind.NUMBER, decimals=3, group="β̂"),
            Column("attention", "Mean", Kind.NUMBER, decimals=3, group="β̂"),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("cosine", "Cosine", Kind.NUMBER),
            Column("long_term_cosine", "Of the long-term mean", Kind.NUMBER),
            Column("gain", "Gain", Kind.SIGNED, parts=("low", "high")),
        ),
        tuple(rows),
        (evaluated.evaluation.scores,),
    )
    return Figure(
        "Is attention on the offset where it is worth it?",
        table_of_bins,
        tuple(panels),
        says=tuple(says),
        reading=(
            "Points are tenths of the sessions by β̂ (over seeds, its mean); the gain is the "
            "model's cosine less that of the long-term mean alone, “Avg, any cxt”. Where the line "
            "rises, the model leans on its offset where that pays. Bands are 95 % intervals with "
            "users as clusters; sessions without history are left out."
        ),
    )


def _models(evaluated: Evaluated) -> list[Model]:
    """The best ones that have attention."""
    if ATTENTION_OFFSET not in pq.read_schema(evaluated.grouped_scores).names:
        return []
    table = pq.read_table(
        evaluated.grouped_scores,
        columns=["model"],
        filters=pc.field(ATTENTION_OFFSET).is_valid(),
    )
    known = set(table["model"].unique().to_pylist())
    ordered = [standing.model for standing in evaluated.verdict.standings]
    return [model for model in ordered if model.name in known][:_MOST_MODELS]


def _sentence(model: Model, calibration: AttentionCalibration) -> str:
    if math.isnan(calibration.correlation):
        return f"{quoted(model)}: attention or gain is the same in all sessions."
    return (
        f"{quoted(model)}: Spearman's correlation of β̂ and gain is "
        f"{signed(calibration.correlation, 2)}."
    )
