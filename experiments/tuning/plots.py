"""A study as plots, SVG.

Colours are of the palette of Okabe and Ito, which people with any colour vision tell apart; each
figure is drawn on its own, so that no state of matplotlib's is touched.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from experiments.tuning.space import Dimension, Space
from experiments.tuning.trials import State, Trial, best_of

PLOTS: Final = "plots"
NAMES: Final = ("flags.svg", "trials.svg", "epochs.svg")

_BLUE, _RED, _GREY = "#0072B2", "#D55E00", "#8C8C8C"
_STYLE: Final = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "cosernn_tf",
}
_PANEL: Final = (3.4, 3.2)
_SIZE: Final = (6.4, 3.8)
_ROOM: Final = 0.12
"""Beside the lowest and the highest value, as a share of the way between them."""
_SCORE: Final = "validation score"


def write_plots(folder: Path, space: Space, trials: Sequence[Trial]) -> None:
    """Writes the plots of the trials that have a score, by the names of `NAMES`."""
    shown = [trial for trial in trials if trial.score is not None]
    folder.mkdir(exist_ok=True)
    size = (_PANEL[0] * len(space.dimensions), _PANEL[1])
    flags, numbers, epochs = (folder / name for name in NAMES)
    with _drawn(flags, size) as figure:
        _flags(figure, space, shown)
    with _drawn(numbers, _SIZE) as figure:
        _trials(figure.add_subplot(), shown)
    with _drawn(epochs, _SIZE) as figure:
        _epochs(figure.add_subplot(), shown)


@contextlib.contextmanager
def _drawn(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure to draw on, which is then written."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        # Without the time of drawing, the same study gives the same bytes.
        figure.savefig(path, format="svg", metadata={"Date": None})


def _flags(figure: Figure, space: Space, trials: Sequence[Trial]) -> None:
    """A panel a flag: every trial, and the best of each value."""
    panels = figure.subplots(1, len(space.dimensions), sharey=True, squeeze=False)[0]
    for axes, dimension in zip(panels, space.dimensions, strict=True):
        _scatter(axes, trials, [trial.flags[dimension.flag] for trial in trials])
        if not dimension.is_range:
            tops = [
                (value, max(scores))
                for value in sorted(dimension.values)
                if (scores := _scores_at(trials, dimension, value))
            ]
            axes.plot(*zip(*tops, strict=True) if tops else ((), ()), color=_BLUE, linewidth=1)
        _scale(axes, dimension)
        axes.set_xlabel(dimension.flag)
    panels[0].set_ylabel(_SCORE)
    _legend(panels[-1])


def _scores_at(trials: Sequence[Trial], dimension: Dimension, value: int | float) -> list[float]:
    """Of the trials that were trained to their end."""
    finished = (trial for trial in trials if trial.state is State.FINISHED)
    return [_score(trial) for trial in finished if trial.flags[dimension.flag] == value]


def _score(trial: Trial) -> float:
    assert trial.score is not None
    return trial.score


def _scale(axes: Axes, dimension: Dimension) -> None:
    """All that is searched is in view, tried or not."""
    low, high = min(dimension.values), max(dimension.values)
    if low > 0:
        axes.set_xscale("log")
        room = max(high / low, 2) ** _ROOM
        axes.set_xlim(low / room, high * room)
    else:
        room = (high - low) * _ROOM or 1
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 3)) if dimension.is_range else FixedLocator(list(dimension.values))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _trials(axes: Axes, trials: Sequence[Trial]) -> None:
    """Every trial, and the best so far."""
    _scatter(axes, trials, [trial.number for trial in trials])
    finished = [trial for trial in trials if trial.state is State.FINISHED]
    so_far = itertools.accumulate(map(_score, finished), max)
    axes.step(
        [trial.number for trial in finished],
        list(so_far),
        where="post",
        color=_BLUE,
        linewidth=1,
        label="best so far",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(_SCORE)
    _legend(axes)


def _epochs(axes: Axes, trials: Sequence[Trial]) -> None:
    """Every trial's way, the best one's above the others."""
    best = best_of(trials)
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        axes.plot(
            range(1, len(trial.scores) + 1),
            trial.scores,
            color=_RED if is_best else _BLUE if trial.state is State.FINISHED else _GREY,
            linestyle="-" if trial.state is State.FINISHED else "--",
            linewidth=1.8 if is_best else 0.8,
            zorder=3 if is_best else 2,
            marker="." if len(trial.scores) == 1 else None,
            label=_LABELS["best" if is_best else trial.state],
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(_SCORE)
    _legend(axes)


_LABELS: Final = {
    "best": "best trial",
    State.FINISHED: "finished",
    State.PRUNED: "pruned",
    State.FAILED: "failed",
}


def _scatter(axes: Axes, trials: Sequence[Trial], places: Sequence[int | float]) -> None:
    best = best_of(trials)
    for trial, x in zip(trials, places, strict=True):
        is_best = best is not None and trial.number == best.number
        is_finished = trial.state is State.FINISHED
        axes.scatter(
            x,
            _score(trial),
            s=40 if is_best else 22,
            color=_RED if is_best else _BLUE if is_finished else _GREY,
            marker="o" if is_finished else "x",
            zorder=3 if is_best else 2,
            label=_LABELS["best" if is_best else trial.state],
        )


def _legend(axes: Axes) -> None:
    """Each kind once."""
    handles, labels = axes.get_legend_handles_labels()
    kinds = dict(zip(labels, handles, strict=True))
    if kinds:
        axes.legend(kinds.values(), kinds.keys(), fontsize="small")
