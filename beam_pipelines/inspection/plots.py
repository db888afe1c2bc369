"""The statistics as plots, PNG: the one module of the pipelines that needs matplotlib.

Colours are of the palette of Okabe and Ito, which people with any colour vision tell apart; each
figure is drawn on its own, so that no state of matplotlib's is touched.
"""

import datetime
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from beam_pipelines.inspection.bins import Bars, bars_of, even_bars
from beam_pipelines.inspection.counts import SECONDS_PER_WEEK
from beam_pipelines.inspection.statistics import Context, Distribution, Statistics
from beam_pipelines.inspection.tables import date_and_time, duration, one_line
from cosernn_tf.schema import DAYS_OF_WEEK, HOURS, MAX_TRACKS_PER_SESSION, UNKNOWN

PLOTS: Final = "plots"
"""Their folder, beside the data card."""

_DOTS_PER_INCH: Final = 160
_SIZE: Final = (6.4, 4.0)
_PAD_INCHES: Final = 0.12
_PAD_FOR_LEGEND: Final = 24
_FONT: Final = "DejaVu Sans"
_BLUE, _SKY, _PALE_SKY, _RED, _GREY = "#0072B2", "#56B4E9", "#C5E4F7", "#D55E00", "#595959"
_STYLE: Final = {
    "font.family": _FONT,
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
_MAX_BARS: Final = 15
_NAME_WIDTH: Final = 24
_MARGIN: Final = 1.1
_DECADES_WITH_ROOM: Final = 4
"""Of a logarithmic axis, for the ticks 2 and 5."""
_TIME_TICKS: Final = {
    20 * 60: "20 min",
    3600: "1 h",
    86_400: "1 day",
    7 * 86_400: "1 week",
    30 * 86_400: "30 days",
    365 * 86_400: "1 year",
    3650 * 86_400: "10 years",
    60: "1 min",
    5 * 60: "5 min",
    6 * 3600: "6 h",
    3 * 86_400: "3 days",
}
"""The most wanted first."""
_LEAST_SPACE: Final = 0.09
"""Between two of them, of the length of the axis."""


def write_plots(statistics: Statistics, directory: Path) -> None:
    """Writes every plot of `PLOTTERS` into the folder; the same bytes for the same statistics."""
    directory.mkdir()
    for name in PLOTTERS:
        (directory / name).write_bytes(draw(name, statistics))


def draw(name: str, statistics: Statistics) -> bytes:
    """One of `PLOTTERS` as PNG."""
    image = io.BytesIO()
    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE}):
        layout = ConstrainedLayoutEngine(w_pad=_PAD_INCHES, h_pad=_PAD_INCHES)
        figure = Figure(figsize=_SIZE, layout=layout)
        plot_on(figure.add_subplot(), name, statistics)
        figure.savefig(image, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return image.getvalue()


def plot_on(axes: Axes, name: str, statistics: Statistics) -> None:
    """Plots one of `PLOTTERS` on axes of any figure."""
    _, plot = PLOTTERS[name]
    plot(axes, statistics)


# Distributions -----------------------------------------------------------------------------------


def _plot_sessions_per_user(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Sessions a user", loc="left")
    axes.set_xlabel("Sessions")
    _integers(axes, statistics.sessions_per_user, what="users")


def _plot_tracks_per_session(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Tracks a session", loc="left")
    axes.set_xlabel("Listens in the session")
    _integers(axes, statistics.tracks_per_session, what="sessions")
    if statistics.kept_listens < statistics.listens:
        kept = MAX_TRACKS_PER_SESSION
        label = f"the first {kept} are kept"
        axes.axvline(kept + 0.5, color="black", linewidth=1.2, linestyle=":", label=label)
        _legend(axes)


def _plot_history_at_test(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("History of a user when the test split begins", loc="left")
    axes.set_xlabel("Sessions before the test split, of users who have one in it")
    values = statistics.history_at_test
    if not values.count:
        _say(axes, "No session is in the test split")
        return
    _integers(axes, values, what="users")


def _plot_gaps(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Gaps between sessions", loc="left")
    axes.set_xlabel("From the end of a session to the start of the user's next")
    values = statistics.gap_seconds
    if not values.count:
        _say(axes, "No user has a second session")
        return
    bars = even_bars(values.histogram)
    _draw(axes, bars, what="sessions")
    axes.set_xscale("log")
    low, high = bars.edges[0] / _MARGIN, bars.edges[-1] * _MARGIN
    axes.set_xlim(low, high)
    labels = _time_ticks(low, high) or {bars.edges[0]: duration(bars.edges[0])}
    axes.xaxis.set_major_locator(FixedLocator(list(labels)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda second, _: labels.get(second, "")))
    axes.xaxis.set_minor_locator(NullLocator())
    _mark_middle(axes, values, format_value=duration)


def _time_ticks(low: float, high: float) -> dict[float, str]:
    """Those of `_TIME_TICKS` that have room on a logarithmic axis."""
    space = _LEAST_SPACE * math.log(high / low)
    ticks: dict[float, str] = {}
    for second, text in _TIME_TICKS.items():
        has_room = all(abs(math.log(second / other)) >= space for other in ticks)
        if low <= second <= high and has_room:
            ticks[second] = text
    return ticks


def _integers(axes: Axes, values: Distribution, *, what: str) -> None:
    """A histogram; on a logarithmic axis where the largest value is far from the others."""
    bars = bars_of(values.histogram)
    if bars.is_log:
        axes.set_xscale("log")
        axes.set_xlim(bars.edges[0] / _MARGIN, bars.edges[-1] * _MARGIN)
        _tick(axes.xaxis, bars.edges[-1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
    _draw(axes, bars, what=what)
    if bars.is_log and values.minimum == 0:
        axes.set_xlabel(f"{axes.get_xlabel()}; {values.counts[0]:,} more have none")
    _mark_middle(axes, values, format_value=_three_digits)


def _tick(axis: Axis, highest: float) -> None:
    """Ticks of a logarithmic axis that begins at about 1."""
    decades = range(math.ceil(math.log10(highest)) + 1)
    subs = (1, 2, 5) if len(decades) <= _DECADES_WITH_ROOM else (1,)
    ticks = [sub * 10**decade for decade in decades for sub in subs]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= highest]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_short))


def _draw(axes: Axes, bars: Bars, *, what: str) -> None:
    axes.stairs(bars.heights, bars.edges, fill=True, color=_SKY, linewidth=0)
    label = f"{what} per doubling" if bars.is_log else what
    axes.set_ylabel(label[0].upper() + label[1:])
    axes.set_ylim(0, 1.05 * max(bars.heights))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.grid(axis="y")


def _mark_middle(axes: Axes, values: Distribution, *, format_value: Callable[[float], str]) -> None:
    median = values.quantiles["p50"]
    assert median is not None
    assert values.mean is not None
    least, _ = axes.get_xlim()
    for value, name, style in ((median, "median", "-"), (values.mean, "mean", "--")):
        # On a logarithmic axis zero is the left end.
        place, label = max(value, least), f"{name} {format_value(value)}"
        axes.axvline(place, color=_RED, linewidth=1.4, linestyle=style, label=label)
    _legend(axes)


# Contexts ----------------------------------------------------------------------------------------


def _plot_hours_and_days(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("When sessions start", loc="left")
    shares = 100 * np.array(statistics.sessions_by_day_and_hour) / statistics.sessions
    image = axes.imshow(shares, aspect="auto", cmap="cividis", vmin=0)
    axes.set_xticks(range(0, HOURS, 3), [f"{hour:02d}" for hour in range(0, HOURS, 3)])
    axes.set_yticks(range(len(DAYS_OF_WEEK)), DAYS_OF_WEEK)
    axes.set_xlabel(f"Hour, {_clock(statistics)}")
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, label="Share of all sessions, %", pad=0.02)
    bar.outline.set_visible(False)


def _plot_devices(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Devices", loc="left")
    _shares(axes, statistics.devices, of=statistics.sessions, what="device")


def _plot_stream_sources(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Stream sources", loc="left")
    _shares(axes, statistics.stream_sources, of=statistics.sessions, what="stream source")


def _shares(axes: Axes, contexts: Sequence[Context], *, of: int, what: str) -> None:
    """Horizontal bars, the most frequent on top."""
    ordered = sorted((c for c in contexts if c.sessions), key=lambda context: -context.sessions)
    if [context.name for context in ordered] == [UNKNOWN]:
        _say(axes, f"No {what} is known")
        return
    shown = ordered if len(ordered) <= _MAX_BARS else ordered[: _MAX_BARS - 1]
    names = [_drawable(context.name) for context in shown]
    shares = [100 * context.sessions / of for context in shown]
    if len(shown) < len(ordered):
        names.append(f"{len(ordered) - len(shown):,} others")
        shares.append(100 - sum(shares))
    places = range(len(names))
    colours = [_SKY] * len(shown) + [_PALE_SKY] * (len(names) - len(shown))
    bars = axes.barh(places, shares, color=colours, height=0.72)
    axes.bar_label(bars, [f"{share:.1f} %" for share in shares], padding=4, fontsize=9)
    axes.set_yticks(places, names)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * max(shares))
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(100, 1.2 * max(shares))])
    axes.set_xlabel("Share of sessions, %, by their first listen")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _plot_skip_rate(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Skip rate by hour", loc="left")
    axes.set_xlabel(f"Hour in which the session starts, {_clock(statistics)}")
    axes.set_ylabel("Skipped listens, %")
    if not statistics.skipped:
        _say(axes, "No listen counts as skipped")
        return
    overall = 100 * (statistics.skip_rate or 0.0)
    rates = [math.nan if h.skip_rate is None else 100 * h.skip_rate for h in statistics.hours]
    axes.plot(range(HOURS), rates, color=_BLUE, marker="o", markersize=4, linewidth=1.6)
    axes.axhline(overall, color=_RED, linewidth=1.4, linestyle="--", label=f"all {overall:.1f} %")
    axes.set_xlim(-0.5, HOURS - 0.5)
    axes.set_xticks(range(0, HOURS, 3), [f"{hour:02d}" for hour in range(0, HOURS, 3)])
    axes.set_ylim(0, 1.15 * np.nanmax(rates))
    _legend(axes)
    axes.grid()


# Tracks and time ---------------------------------------------------------------------------------


def _plot_popularity(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Popularity of tracks", loc="left")
    axes.set_xlabel("Rank of the track")
    axes.set_ylabel("Listens to it in the records")
    popularity = statistics.popularity
    if not popularity.tracks:
        _say(axes, "No listen has a track of the vocabulary")
        return
    axes.loglog(popularity.ranks, popularity.listens, color=_BLUE, linewidth=2)
    axes.axvline(
        popularity.top_tracks,
        color=_RED,
        linewidth=1.4,
        linestyle="--",
        label=f"top 1 %: {100 * (popularity.top_share or 0):.1f} % of listens",
    )
    _tick(axes.xaxis, popularity.ranks[-1])
    _tick(axes.yaxis, popularity.listens[0])
    axes.set_xlim(left=0.8)
    axes.set_ylim(bottom=0.8)
    _legend(axes)
    axes.grid()


def _plot_weeks(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Sessions a week", loc="left")
    axes.set_ylabel("Sessions in 7 days")
    starts = [week.start for week in statistics.weeks]
    edges = date2num(_moments([*starts, starts[-1] + SECONDS_PER_WEEK]))
    heights = [week.sessions for week in statistics.weeks]
    is_whole = statistics.first_timestamp <= starts[0]
    if not is_whole:
        axes.stairs(heights[:1], edges[:2], fill=True, color=_PALE_SKY, label="part of a week")
    if whole := heights[not is_whole :]:
        axes.stairs(whole, edges[not is_whole :], fill=True, color=_SKY)
    for split, style in zip(statistics.splits[1:], ("--", "-"), strict=True):
        assert split.start is not None
        boundary = date2num(_moments([max(split.start, starts[0])]))[0]
        label = f"{split.name}: {date_and_time(split.start)[:10]}"
        axes.axvline(boundary, color=_RED, linewidth=1.6, linestyle=style, label=label)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.05 * max(heights))
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    beginning = "from an unknown beginning" if statistics.has_relative_times else "UTC"
    axes.set_xlabel(f"Date, {beginning}")
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    _legend(axes)
    axes.grid(axis="y")


def _legend(axes: Axes) -> None:
    """What the lines are, in a row between title and axes, where it covers nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.3, fontsize=9)
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=_PAD_FOR_LEGEND)


# Text --------------------------------------------------------------------------------------------


def _clock(statistics: Statistics) -> str:
    if statistics.has_relative_times:
        return "from an unknown midnight"
    return "local" if statistics.off_utc_share else "UTC"


def _moments(timestamps: Sequence[int]) -> list[datetime.datetime]:
    return [datetime.datetime.fromtimestamp(t, datetime.UTC) for t in timestamps]


def _short(value: float, _: object = None) -> str:
    """A number in few characters: 2,500 → 2,500; 25,000 → 25k; 2,500,000 → 2.5M."""
    for least, scale, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / scale:,.4g}{unit}"
    return f"{value:,.4g}"


def _three_digits(value: float) -> str:
    return f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"


def _drawable(text: str) -> str:
    """A name as the font can draw it, and not as a formula."""
    known = get_font(findfont(_FONT)).get_charmap()
    shown = one_line(text, width=_NAME_WIDTH)
    return "".join(c if ord(c) in known else "\N{WHITE SQUARE}" for c in shown).replace("$", r"\$")


def _say(axes: Axes, text: str) -> None:
    """In place of a plot of nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)
    axes.set_xticks([])
    axes.set_yticks([])


PLOTTERS: Final[Mapping[str, tuple[str, Callable[[Axes, Statistics], None]]]] = {
    "sessions_per_user.png": ("sessions a user", _plot_sessions_per_user),
    "tracks_per_session.png": ("tracks a session", _plot_tracks_per_session),
    "gaps.png": ("gaps between sessions", _plot_gaps),
    "weeks.png": ("sessions a week, and the splits", _plot_weeks),
    "hours_and_days.png": ("sessions by hour and day of the week", _plot_hours_and_days),
    "devices.png": ("sessions by device", _plot_devices),
    "stream_sources.png": ("sessions by stream source", _plot_stream_sources),
    "skip_rate.png": ("skip rate by hour", _plot_skip_rate),
    "popularity.png": ("listens of tracks by rank", _plot_popularity),
    "history_at_test.png": ("history of the users of the test split", _plot_history_at_test),
}
"""By file: what it shows, and what draws it."""
