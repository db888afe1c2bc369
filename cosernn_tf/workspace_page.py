"""`python -m cosernn_tf.workspace_page`: rewrites the tables of WORKSPACE.md that stand in code.

The page has a pair of comments around each of them, `<!-- begin NAME -->` and `<!-- end -->`; what
is between is written anew, all else is left as it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import ARCHITECTURES
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.scores import CATALOGUE_COLUMNS, PREDICTION_COLUMN, SCORE_COLUMNS
from cosernn_tf.schema import (
    DEVICES,
    HOURS,
    LISTEN_COLUMNS,
    MODEL_INPUTS,
    PERIOD_OF_HOUR,
    PERIODS,
    SESSION_FEATURES,
    ModelInput,
    Per,
)

_PAGE = flags.DEFINE_string("page", "WORKSPACE.md", "The page to rewrite.")

_BLOCK: Final = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every table as the code has it.

    Raises:
        UserError: It names a table that does not exist, or leaves one out.
    """
    named = [match[2] for match in _BLOCK.finditer(page)]
    if sorted(named) != sorted(TABLES):
        raise UserError(
            f"the page has the tables {', '.join(named) or 'none'}, expected each of "
            f"{', '.join(TABLES)} once, between <!-- begin NAME --> and <!-- end -->"
        )
    return _BLOCK.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}{match[3]}", page)


def _listens() -> str:
    return _table(
        ("column", "type", "null?", "meaning"),
        ((f"`{c.name}`", c.type, "yes" if c.nullable else "no", c.meaning) for c in LISTEN_COLUMNS),
    )


def _session_features() -> str:
    return _table(
        ("feature", "shape", "type", "meaning"),
        (
            (f"`{f.name}`", f"`{f.per.value}`", f.dtype.__name__.rstrip("_"), f.meaning)
            for f in SESSION_FEATURES
        ),
    )


def _model_inputs() -> str:
    def shape(per: Per, rest: tuple[int, ...]) -> str:
        return ", ".join(["batch", *["sessions"] * (per is not Per.USER), *map(str, rest)])

    def taken_by(spec: ModelInput) -> str:
        if spec.feature is None:
            names = [model.name for model in ARCHITECTURES if spec.name in model.inputs]
            return "all models" if len(names) == len(ARCHITECTURES) else ", ".join(names)
        return " and ".join(f"`{name}`" for name in (spec.feature, spec.pathway) if name)

    return _table(
        ("input", "shape", "type", "taken by", "meaning"),
        (
            (f"`{i.name}`", f"`({shape(i.per, i.shape)})`", i.dtype, taken_by(i), i.meaning)
            for i in MODEL_INPUTS
        ),
    )


def _scores() -> str:
    return _table(
        ("column", "type", "null?", "meaning"),
        (
            (f"`{c.name}`", c.type, "yes" if c.nullable else "no", c.meaning)
            for c in (*SCORE_COLUMNS, *CATALOGUE_COLUMNS, PREDICTION_COLUMN)
        ),
    )


def _devices() -> str:
    return _table(("row", "device"), enumerate(DEVICES))


def _periods() -> str:
    # The first period starts at 1, so that the last one runs over midnight.
    day = [*range(1, HOURS), 0]
    hours = [
        [str(hour) for hour in day if PERIOD_OF_HOUR[hour] == row] for row in range(len(PERIODS))
    ]
    return _table(("period", "local hours"), zip(PERIODS, map(", ".join, hours), strict=True))


def _table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "listens": _listens,
    "devices": _devices,
    "periods": _periods,
    "session_features": _session_features,
    "model_inputs": _model_inputs,
    "scores": _scores,
}


def main(_: list[str]) -> None:
    page = Path(_PAGE.value)
    if not page.is_file():
        raise UserError(f"--page={page} does not exist: run this in the root of the repository")
    page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
