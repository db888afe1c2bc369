"""Table 2, and the tests behind it."""

from typing import Final

from experiments.reporting.document import Column, Estimate, Kind, Section, Table
from experiments.reporting.formats import counted
from experiments.reporting.models import LEVEL, Model
from experiments.reporting.report_data import Evaluated
from experiments.reporting.words import metric_title

MARK: Final = "\N{DAGGER}"


def results_section(evaluated: Evaluated) -> Section:
    comparison = evaluated.comparison
    content = evaluated.evaluation.content
    scored = (
        f"Scored: {counted(comparison.sessions, 'session')} of {counted(comparison.users, 'user')} "
        f"in the {content['provenance']['evaluation']['split']} split, those with a played track "
        "that has an embedding"
    )
    without = content["sessions_without_target"]
    if without is not None:
        scored += f"; {without:,} have none"
    tests = (
        "Tests are of each model against the recommended one. The t-test, the paper's, takes "
        "sessions for independent; the other draws whole users. The design effect says how much "
        "larger the variance is than if sessions were independent."
    )
    return Section(
        "table2",
        "Table 2: models, heuristics and oracles",
        (f"{scored}.",),
        (_table_2(evaluated), _scored(evaluated), _tests(evaluated, tests)),
    )


def _table_2(evaluated: Evaluated) -> Table:
    comparison = evaluated.comparison
    rows, breaks = [], []
    kind = comparison.models[0].kind
    for place, model in enumerate(comparison.models):
        if model.kind is not kind:
            breaks.append(place)
            kind = model.kind
        rows.append(
            (
                model.title,
                len(model.runs) or None,
                *(_cell(evaluated, model, metric.name) for metric in comparison.metrics),
            )
        )
    groups = {
        m.name: f"{m.task}, K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{m.k}" if m.k else ""
        for m in comparison.metrics
    }
    parts = ("deviation", "low", "high")
    columns = (
        Column("model", "Model"),
        Column("seeds", "Seeds", Kind.COUNT),
        *(
            Column(m.name, m.title, Kind.NUMBER, group=groups[m.name], parts=parts)
            for m in comparison.metrics
        ),
    )
    chosen = evaluated.verdict.model
    notes = ["Bold: best of its column, oracles aside. Rank: lower is better."]
    if any(len(model.runs) > 1 for model in comparison.models):
        notes.append("Means over sessions and seeds, ± standard deviation over seeds.")
    if comparison.tested:
        by = "with users as clusters" if comparison.resamples else "over sessions"
        notes.append(
            f"{MARK} measurably different from {chosen.title}: p < {LEVEL:g}, {by}, after Holm's "
            "correction."
        )
    return Table(
        "table2",
        "Means over sessions",
        columns,
        tuple(rows),
        (evaluated.evaluation.scores, evaluated.evaluation.metrics),
        notes=tuple(notes),
        breaks=tuple(breaks),
    )


def _cell(evaluated: Evaluated, model: Model, name: str) -> Estimate | None:
    comparison = evaluated.comparison
    metric = next(metric for metric in comparison.metrics if metric.name == name)
    mean = model.means[name]
    if mean is None:
        return None
    low, high = model.intervals[name] or (None, None)
    difference = comparison.difference(evaluated.verdict.model.name, model.name, metric)
    return Estimate(
        mean,
        deviation=model.deviations[name],
        low=low,
        high=high,
        is_best=model in comparison.best(metric),
        mark=MARK if difference is not None and difference.is_measurable else "",
    )


def _scored(evaluated: Evaluated) -> Table:
    """On how much each metric rests."""
    scored = evaluated.evaluation.content["scored"]
    rows = tuple(
        (
            metric_title(metric),
            entry["sessions"],
            entry["share"],
            entry["users"],
            entry["users_share"],
        )
        for metric in evaluated.comparison.metrics
        for entry in [scored[metric.name]]
    )
    return Table(
        "scored",
        "On how much each metric rests",
        (
            Column("metric", "Metric"),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("share", "Of all", Kind.PERCENT, decimals=1),
            Column("users", "Users", Kind.COUNT),
            Column("users_share", "Of all", Kind.PERCENT, decimals=1),
        ),
        rows,
        (evaluated.evaluation.metrics,),
        notes=(
            "A session is scored by session ranking if the user has K sessions to rank, and by "
            "track ranking if it contains one of the K candidates: with few of them, results are "
            "those of people who listen again.",
        ),
        is_folded=True,
    )


def _tests(evaluated: Evaluated, note: str) -> Table:
    comparison = evaluated.comparison
    chosen = evaluated.verdict.model
    rows = []
    for model in comparison.models:
        for metric in comparison.metrics:
            difference = comparison.difference(chosen.name, model.name, metric)
            if difference is not None:
                rows.append(
                    (
                        model.title,
                        metric_title(metric),
                        difference.sessions,
                        difference.users,
                        Estimate(difference.mean, low=difference.low, high=difference.high),
                        difference.relative,
                        difference.cohens_d,
                        difference.t_p,
                        difference.t_holm,
                        difference.clustered_p,
                        difference.clustered_holm,
                        difference.design_effect,
                    )
                )
    resamples = comparison.resamples
    method = f"{resamples:,} resamples of users. " if resamples else ""
    return Table(
        "tests",
        f"Tests of {chosen.title} against each other model",
        (
            Column("model", "Other model"),
            Column("metric", "Metric"),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("difference", "Difference", Kind.SIGNED, parts=("low", "high")),
            Column("relative", "In percent", Kind.CHANGE, decimals=1),
            Column("cohens_d", "Cohen's d", Kind.SIGNED, decimals=3),
            Column("t_p", "p", Kind.P_VALUE, group="t-test over sessions"),
            Column("t_p_holm", "p, Holm", Kind.P_VALUE, group="t-test over sessions"),
            Column("clustered_p", "p", Kind.P_VALUE, group="Users as clusters"),
            Column("clustered_p_holm", "p, Holm", Kind.P_VALUE, group="Users as clusters"),
            Column(
                "design_effect", "Design effect", Kind.NUMBER, decimals=1, group="Users as clusters"
            ),
        ),
        tuple(rows),
        (evaluated.evaluation.scores,),
        notes=(f"{note} {method}Difference: {chosen.title} less the other.",),
        is_folded=True,
    )
