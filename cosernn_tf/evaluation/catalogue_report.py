"""What models retrieve from the catalogue, as a printed table."""

from collections.abc import Mapping
from typing import Any, Final

from cosernn_tf.evaluation.catalogue_metrics import CUTOFFS, Part, hit, ndcg, recall, rr
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES

_FIRST, _LAST = CUTOFFS
_ABSENT: Final = "-"

_METRICS: Final = {
    "": ((f"Rec@{_FIRST}", recall(_FIRST)), (f"nDCG@{_FIRST}", ndcg(_FIRST)),
         (f"Hit@{_FIRST}", hit(_FIRST)), ("MRR", rr())),
    "Repeated": ((f"Rec@{_FIRST}", recall(_FIRST, Part.REPEATED)),
                 (f"Rec@{_LAST}", recall(_LAST, Part.REPEATED))),
    "New": ((f"Rec@{_FIRST}", recall(_FIRST, Part.NEW)), (f"Rec@{_LAST}", recall(_LAST, Part.NEW))),
}  # fmt: skip
_LISTS: Final = (("Coverage", "coverage"), ("Head", "head_share"), ("Novelty", "novelty"))
_WIDTH: Final = 10


def format_catalogue(catalogue: Mapping[str, Any]) -> str:
    """Fixed-width text of the field `catalogue` of `metrics.json`: a row a model."""
    titles = {**HEURISTICS, **ORACLES}
    models = catalogue["models"]
    width = max(len("Tracks listened to"), *(len(titles.get(name, name)) for name in models))
    spans = {part: len(columns) for part, columns in _METRICS.items()}
    spans[f"Lists of {_FIRST}"] = len(_LISTS)
    heads = [head for columns in _METRICS.values() for head, _ in columns]
    heads += [head for head, _ in _LISTS]
    lines = [
        " " * width + "".join(f"{span:^{_WIDTH * count}}" for span, count in spans.items()),
        f"{'Model':{width}}" + "".join(f"{head:>{_WIDTH}}" for head in heads),
    ]
    lines.append("-" * len(lines[-1]))
    for name, model in models.items():
        values = [
            model["metrics"][metric] for columns in _METRICS.values() for _, metric in columns
        ]
        lists = model["recommended"][str(_FIRST)]
        lines.append(_row(titles.get(name, name), width, [*values, *(lists[f] for _, f in _LISTS)]))
    lines.append(lines[2])
    absent = [None] * (len(heads) - len(_LISTS))
    listened = [catalogue["listened"][field] for _, field in _LISTS]
    lines.append(_row("Tracks listened to", width, [*absent, *listened]))
    lines += [
        f"All {catalogue['tracks']:,} tracks that have an embedding, ranked for each of "
        f"{catalogue['sessions']:,} sessions; MRR is cut at {_LAST}.",
        f"Of the sessions' {catalogue['relevant_tracks']:,} distinct tracks among them, "
        f"{_percent(catalogue['repeated_share'])} are repeated: the user had listened to them.",
        f"Head: the {catalogue['head_tracks']:,} tracks that have half of the listens in training. "
        "Novelty: bits.",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _row(title: str, width: int, values: list[float | None]) -> str:
    cells = (_ABSENT if value is None else f"{value:.4f}" for value in values)
    return f"{title:{width}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells)


def _percent(share: float | None) -> str:
    return _ABSENT if share is None else f"{100 * share:.1f} %"
