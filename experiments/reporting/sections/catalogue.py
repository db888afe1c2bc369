"""Beyond the paper: what models find in the whole catalogue, and what their lists are like."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cosernn_tf.evaluation.catalogue_metrics import (
    CATALOGUE_METRICS,
    CUTOFFS,
    Part,
    hit,
    ndcg,
    recall,
)
from cosernn_tf.evaluation.summary import Kind as Models
from experiments.reporting.document import (
    Cell,
    Column,
    Estimate,
    Figure,
    Kind,
    Missing,
    Panel,
    Section,
    Table,
)
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Dot, DotRow, Words, draw_dots
from experiments.reporting.formats import listed, percent
from experiments.reporting.means import Mean, means_by_model
from experiments.reporting.models import Model
from experiments.reporting.palette import NO_MODEL, Look
from experiments.reporting.report_data import Evaluated
from experiments.reporting.words import quoted

_TITLE: Final = "Retrieval from the whole catalogue"
_FIRST, _LAST = CUTOFFS
_DRAWN: Final = (
    (ndcg(_FIRST), f"nDCG@{_FIRST}, all tracks of the session"),
    (recall(_LAST, Part.REPEATED), f"Recall@{_LAST}, tracks listened to before"),
    (recall(_LAST, Part.NEW), f"Recall@{_LAST}, tracks new to the user"),
)
_PARTS: Final = {
    Part.ALL: "All tracks of the session",
    Part.REPEATED: "Listened to before",
    Part.NEW: "New to the user",
}
_LISTS: Final = (
    ("coverage", "Coverage", Kind.PERCENT),
    ("head_share", "In the head", Kind.PERCENT),
    ("novelty", "Rarity, bits", Kind.NUMBER),
    ("mean_log_popularity", "Log popularity", Kind.NUMBER),
    ("gini", "Gini", Kind.NUMBER),
)
_LISTS_DRAWN: Final = ("coverage", "head_share", "novelty")
_AXES: Final = {
    "coverage": "tracks that are in any list, of all",
    "head_share": "listed tracks that are in the head",
    "novelty": "mean rarity of a listed track among all users, bits",
}
_AXIS: Final = Axis("mean over sessions", least=0.0, most=1.0)
_LISTENED: Final = "Tracks listened to"


def catalogue_section(evaluated: Evaluated, at: str) -> Section:
    """The figures, or how to have them."""
    catalogue = evaluated.evaluation.content.get("catalogue")
    if catalogue is None:
        missing = Missing(
            "The whole catalogue has not been searched: the rankings above are among tracks and "
            "sessions of the user's own.",
            f"python -m cosernn_tf.evaluate {at} --catalogue",
        )
        return Section("catalogue", _TITLE, (), (missing,))
    means = means_by_model(evaluated.grouped_scores, [metric.name for metric in CATALOGUE_METRICS])
    paragraph = (
        "Ranking among one's own recent tracks rewards repetition. Here all "
        f"{catalogue['tracks']:,} tracks that have an embedding are ranked for every session. Of "
        f"the tracks that sessions contain, {_share(catalogue['repeated_share'])} had been "
        f"listened to before; {_share(catalogue['outside_share'])} have no embedding and cannot be "
        "found."
    )
    blocks = (
        _figure(evaluated, means),
        _table(evaluated, means),
        _lists_figure(evaluated, catalogue),
    )
    return Section("catalogue", _TITLE, (paragraph,), blocks)


def best_at_retrieval(evaluated: Evaluated) -> str | None:
    """A sentence for the answer; None if the catalogue was not searched."""
    catalogue = evaluated.evaluation.content.get("catalogue")
    if catalogue is None:
        return None
    parts = []
    for metric, text in (
        (ndcg(_FIRST), f"{{model}} has the best nDCG@{_FIRST} ({{number}})"),
        (
            recall(_LAST, Part.NEW),
            f"{{model}} the best recall@{_LAST} of tracks new to the user ({{number}})",
        ),
        (
            hit(_FIRST, Part.NEW),
            f"one of a session's new tracks is among the {_FIRST} best in {{share}} of the "
            "sessions that have any, at most ({model})",
        ),
    ):
        known = [
            (value, model)
            for model in evaluated.comparison.deployable
            if (value := _mean_of_runs(catalogue, model, metric)) is not None
        ]
        if known:
            value, best = max(known, key=lambda pair: pair[0])
            parts.append(
                text.format(model=quoted(best), number=f"{value:.4f}", share=percent(value))
            )
    if not parts:
        return None
    return (
        f"Among all tracks of the catalogue, {listed(parts)}. These means are beside the "
        "metrics of the rule, and were not tested."
    )


def _mean_of_runs(catalogue: Mapping[str, Any], model: Model, metric: str) -> float | None:
    names = model.runs or (model.name,)
    values = [catalogue["models"][name]["metrics"][metric] for name in names]
    return None if None in values else statistics.fmean(values)


def _share(share: float | None) -> str:
    return "none" if share is None else percent(share)


def _ordered(evaluated: Evaluated) -> list[Model]:
    """Deployable ones as in the answer, then the oracles."""
    ordered = [standing.model for standing in evaluated.verdict.standings]
    oracles = [m for m in evaluated.comparison.models if m.kind is Models.ORACLE]
    return ordered + oracles


def _figure(evaluated: Evaluated, means: Mapping[str, Mapping[str, Mean]]) -> Figure:
    name = "retrieval"
    panels, says = [], []
    models = [standing.model for standing in evaluated.verdict.standings]
    for metric, title in _DRAWN:
        known = [model for model in models if metric in means[model.name]]
        if not known:
            continue
        best = max(known, key=lambda model: means[model.name][metric].value)
        sentence = f"{title}: {quoted(best)} is first, with {means[best.name][metric].value:.4f}."
        says.append(sentence)
        rows = []
        for model in known:
            mean = means[model.name][metric]
            look = evaluated.looks[model.name]
            dot = Dot(look, mean.value, mean.low, mean.high, is_bold=model is best)
            rows.append(DotRow(model.title, (dot,)))
        words = Words(f"{name}-{metric}", title, sentence)
        panels.append(Panel(title, draw_dots(rows, _AXIS, words)))
    table = Table(
        name,
        "Retrieval from the catalogue, with 95 % intervals",
        (
            Column("model", "Model"),
            *(Column(m, title, Kind.NUMBER, parts=("low", "high")) for m, title in _DRAWN),
        ),
        tuple(
            (model.title, *(_estimate(means[model.name].get(m)) for m, _ in _DRAWN))
            for model in models
        ),
        (evaluated.evaluation.scores,),
    )
    return Figure(
        "What models find among all tracks",
        table,
        tuple(panels),
        says=tuple(says),
        reading=(
            "Models in the order of the answer; in bold, the best of each panel. Lines are 95 % "
            "intervals with users as clusters."
        ),
    )


def _estimate(mean: Mean | None) -> Estimate | None:
    return None if mean is None else Estimate(mean.value, low=mean.low, high=mean.high)


def _table(evaluated: Evaluated, means: Mapping[str, Mapping[str, Mean]]) -> Table:
    """Every metric of every model."""
    columns = [Column("model", "Model")]
    for metric in CATALOGUE_METRICS:
        group = _PARTS[metric.part]
        columns.append(Column(metric.name, metric.title, Kind.NUMBER, group=group))
    models = _ordered(evaluated)
    best = {
        metric.name: max(
            (
                means[standing.model.name][metric.name].value
                for standing in evaluated.verdict.standings
                if metric.name in means[standing.model.name]
            ),
            default=None,
        )
        for metric in CATALOGUE_METRICS
    }
    rows = []
    for model in models:
        row: list[Cell] = [model.title]
        for metric in CATALOGUE_METRICS:
            mean = means[model.name].get(metric.name)
            is_best = mean is not None and mean.value == best[metric.name]
            row.append(None if mean is None else Estimate(mean.value, is_best=is_best))
        rows.append(tuple(row))
    return Table(
        "catalogue",
        "All metrics of retrieval from the catalogue",
        tuple(columns),
        tuple(rows),
        (evaluated.evaluation.scores,),
        notes=("Bold: best of its column, oracles aside.",),
        breaks=(len(evaluated.verdict.standings),),
        is_folded=True,
    )


def _lists_figure(evaluated: Evaluated, catalogue: Mapping[str, Any]) -> Figure:
    """What is in the lists, beside what is listened to."""
    name = "lists"
    key = str(_FIRST)
    models = [standing.model for standing in evaluated.verdict.standings]
    values = {
        model.name: {field: _of_lists(catalogue, model, key, field) for field, _, _ in _LISTS}
        for model in models
    }
    listened = catalogue["listened"]
    panels = []
    for field, title, kind in _LISTS:
        if field not in _LISTS_DRAWN:
            continue
        rows = [DotRow(_LISTENED, _dots(listened[field], NO_MODEL))]
        rows += [
            DotRow(model.title, _dots(values[model.name][field], evaluated.looks[model.name]))
            for model in models
        ]
        axis = Axis(_AXES[field], is_percent=kind is Kind.PERCENT)
        words = Words(f"{name}-{field}", f"{title} of lists of {_FIRST}", _AXES[field])
        panels.append(Panel(f"{title}, lists of {_FIRST}", draw_dots(rows, axis, words)))
    table = Table(
        name,
        "What is in the lists of the best tracks",
        (
            Column("model", "Model"),
            *(
                Column(
                    f"{field}_{k}", title, kind, 1 if kind is Kind.PERCENT else 3, f"Lists of {k}"
                )
                for k in CUTOFFS
                for field, title, kind in _LISTS
            ),
        ),
        (
            (_LISTENED, *(listened[field] for _ in CUTOFFS for field, _, _ in _LISTS)),
            *(
                (
                    model.title,
                    *(
                        _of_lists(catalogue, model, str(k), field)
                        for k in CUTOFFS
                        for field, _, _ in _LISTS
                    ),
                )
                for model in models
            ),
        ),
        (evaluated.evaluation.metrics,),
        notes=("Means over seeds. The first row is of what users did listen to, whatever the k.",),
        breaks=(1,),
    )
    return Figure(
        "How varied and how popular the lists are",
        table,
        tuple(panels),
        says=(_says_lists(models, values, listened),),
        reading=(
            f"The {_FIRST} best tracks of each session, all sessions together; on top, what users "
            "listened to. The head are the most popular tracks, with half of the listens in "
            "training: a model to the right of what is listened to is biased towards the popular. "
            "Rarity is of a track among all users, not whether it is new to the one it is listed "
            "for. These are figures of all lists together, and have no intervals."
        ),
    )


def _of_lists(catalogue: Mapping[str, Any], model: Model, k: str, field: str) -> float | None:
    """Mean over seeds."""
    names = model.runs or (model.name,)
    values = [catalogue["models"][name]["recommended"][k][field] for name in names]
    return None if None in values else statistics.fmean(values)


def _dots(value: float | None, look: Look) -> tuple[Dot, ...]:
    return () if value is None else (Dot(look, value),)


def _says_lists(
    models: Sequence[Model],
    values: Mapping[str, Mapping[str, float | None]],
    listened: Mapping[str, Any],
) -> str:
    chosen = values[models[0].name]
    if chosen["head_share"] is None or listened["head_share"] is None:
        return f"{quoted(models[0])} has no lists."
    return (
        f"Lists of {quoted(models[0])} have {percent(chosen['head_share'])} of their tracks in the "
        f"head, what users listened to {percent(listened['head_share'])}; they reach "
        f"{percent(chosen['coverage'] or 0.0)} of all tracks."
    )
