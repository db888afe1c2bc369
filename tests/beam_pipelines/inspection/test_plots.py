"""The plots: they show the statistics, and nothing in a log makes them fail or fall silent."""

import dataclasses
import io
import warnings
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from beam_pipelines.inspection.plots import PLOTTERS, draw, plot_on, write_plots
from beam_pipelines.inspection.run import gather
from beam_pipelines.inspection.statistics import Context, Statistics
from tests.workspaces import random_table, write_sessions

from .test_statistics import one_session_each


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="module")
def statistics(tmp_path_factory) -> Statistics:
    table = random_table(1, num_users=60, sessions_per_user=20)
    gaps = np.where(table.position > 0, np.maximum(table.seconds_since_last, 1_200), 0)
    table = dataclasses.replace(table, seconds_since_last=gaps)
    return gather(write_sessions(tmp_path_factory.mktemp("plots") / "sessions", table))


def drawn(statistics: Statistics, name: str) -> Any:
    """The axes, which matplotlib types more loosely than what is asked of them here."""
    axes = Figure().add_subplot()
    plot_on(axes, name, statistics)
    return axes


def check(png: bytes) -> np.ndarray:
    """Decodes a plot: something is drawn in dark on white, and nothing is cut at the edges."""
    image = matplotlib.image.imread(io.BytesIO(png))[:, :, :3]
    assert image.shape == (640, 1024, 3)
    assert (image.min(axis=2) > 0.99).mean() > 0.1
    assert (image.max(axis=2) < 0.35).mean() > 0.002
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert frame.min() > 0.99
    return np.asarray(image)


def test_they_are_images_that_differ(statistics, tmp_path):
    write_plots(statistics, tmp_path / "plots")
    files = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert set(files) == set(PLOTTERS)
    for png in files.values():
        is_coloured = np.ptp(check(png), axis=2) > 0.3
        assert is_coloured.mean() > 0.002
    assert len(set(files.values())) == len(PLOTTERS) >= 10
    for name in ("weeks.png", "hours_and_days.png"):
        assert draw(name, statistics) == files[name], "equal statistics, other bytes"


# What they show ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLOTTERS)
def test_every_plot_has_a_title_and_axes_that_say_what_they_are(statistics, name):
    axes = drawn(statistics, name)
    assert axes.get_title(loc="left")
    assert axes.get_xlabel()
    assert axes.get_ylabel() or axes.get_yticklabels()


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("sessions_per_user.png", "sessions_per_user"),
        ("tracks_per_session.png", "tracks_per_session"),
        ("gaps.png", "gap_seconds"),
        ("history_at_test.png", "history_at_test"),
    ],
)
def test_histograms_hold_all_values_and_mark_the_middle(statistics, name, field):
    axes = drawn(statistics, name)
    values = getattr(statistics, field)
    ((heights, edges, _),) = (patch.get_data() for patch in axes.patches)
    is_log = axes.get_xscale() == "log"
    widths = np.diff(np.log2(edges)) if is_log else 1
    assert (heights * widths).sum() == pytest.approx(values.count)
    assert edges[0] <= values.minimum
    assert values.maximum <= edges[-1]
    lines = {line.get_label().split()[0]: line.get_xdata()[0] for line in axes.lines}
    assert lines["median"] == values.quantiles["p50"]
    assert lines["mean"] == values.mean


def test_gaps_have_ticks_of_hours_and_days(statistics):
    axes = drawn(statistics, "gaps.png")
    assert axes.get_xscale() == "log"
    ticks = axes.xaxis.get_major_locator()()
    texts = [axes.xaxis.get_major_formatter()(tick) for tick in ticks]
    shown = dict(zip(texts, ticks, strict=True))
    assert shown["1 h"] == 3_600
    assert shown["1 day"] == 86_400
    assert shown["1 week"] == 7 * 86_400


def test_contexts_are_shares_of_sessions(statistics):
    for name, contexts in (
        ("devices.png", statistics.devices),
        ("stream_sources.png", statistics.stream_sources),
    ):
        axes = drawn(statistics, name)
        bars = {
            text.get_text(): bar.get_width()
            for text, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)
        }
        assert bars == {
            c.name: pytest.approx(100 * c.sessions / statistics.sessions)
            for c in contexts
            if c.sessions
        }


def test_the_heat_map_has_a_row_a_day(statistics):
    axes = drawn(statistics, "hours_and_days.png")
    shares = axes.images[0].get_array()
    assert shares.shape == (7, 24)
    np.testing.assert_allclose(
        shares, 100 * np.array(statistics.sessions_by_day_and_hour) / statistics.sessions
    )
    assert [text.get_text() for text in axes.get_yticklabels()][0::6] == ["Monday", "Sunday"]


def test_skip_rates_and_popularity(statistics):
    line, overall = drawn(statistics, "skip_rate.png").lines
    assert line.get_ydata() == pytest.approx(
        [100 * hour.skipped / hour.kept_listens for hour in statistics.hours]
    )
    assert set(overall.get_ydata()) == {100 * statistics.skipped / statistics.kept_listens}
    axes = drawn(statistics, "popularity.png")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert tuple(axes.lines[0].get_xdata()) == statistics.popularity.ranks
    assert tuple(axes.lines[0].get_ydata()) == statistics.popularity.listens


def test_weeks_have_all_sessions_and_the_boundaries_of_the_splits(statistics):
    axes = drawn(statistics, "weeks.png")
    heights = np.concatenate([patch.get_data().values for patch in axes.patches])
    assert heights.tolist() == [week.sessions for week in statistics.weeks]
    assert heights.sum() == statistics.sessions
    days = [line.get_xdata()[0] for line in axes.lines]
    assert days == [pytest.approx(split.start / 86_400) for split in statistics.splits[1:]]
    assert [line.get_label().split(":")[0] for line in axes.lines] == ["validation", "test"]
    # 61 days are eight weeks and part of one.
    first, rest = axes.patches
    assert len(first.get_data().values) == 1
    assert len(rest.get_data().values) == 8


# Odd data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        one_session_each(1),
        one_session_each(3, cut=True),
        random_table(0, num_users=4, sessions_per_user=[1, 1, 2, 1000]),
    ],
    ids=["one session", "no track", "skewed"],
)
def test_little_and_skewed_data(tmp_path, table):
    statistics = gather(write_sessions(tmp_path / "sessions", table))
    for name in PLOTTERS:
        check(draw(name, statistics))


def test_what_there_is_nothing_of_is_said(tmp_path):
    statistics = gather(write_sessions(tmp_path / "sessions", one_session_each(3, cut=True)))
    unknown = (Context("unknown", 3, 3, 3, 0, 0.0), Context("web", 0, 0, 0, 0, None))
    statistics = dataclasses.replace(
        statistics,
        devices=unknown,
        stream_sources=unknown,
        history_at_test=dataclasses.replace(statistics.gap_seconds, exact=True),
    )
    for name, text in (
        ("gaps.png", "No user has a second session"),
        ("popularity.png", "No listen has a track of the vocabulary"),
        ("devices.png", "No device is known"),
        ("stream_sources.png", "No stream source is known"),
        ("skip_rate.png", "No listen counts as skipped"),
        ("history_at_test.png", "No session is in the test split"),
    ):
        assert [shown.get_text() for shown in drawn(statistics, name).texts] == [text]


def test_names_that_are_formulas_glyphs_or_long(statistics):
    names = ["$x^2$", "音楽 🎵", "a\nb\x1b[31m", "", "very " * 40, "\\frac{", *map(str, range(40))]
    sources = tuple(Context(name, 100 - number, 1, 1, 0, 0.0) for number, name in enumerate(names))
    odd = dataclasses.replace(
        statistics, stream_sources=sources, sessions=sum(c.sessions for c in sources)
    )
    check(draw("stream_sources.png", odd))
    axes = drawn(odd, "stream_sources.png")
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[:4] == [r"\$x^2\$", "□□ □", "a b [31m", "(blank)"]
    assert labels[-1] == "32 others"
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(100)


def test_a_user_of_three_million_sessions_and_users_without_history(statistics):
    values = dataclasses.replace(
        statistics.history_at_test,
        values=(0, 1, 2, 3, 3_000_000),
        counts=(7, 40, 20, 10, 1),
        quantiles={"p50": 1},
        minimum=0,
        maximum=3_000_000,
        mean=38_462.0,
        count=78,
    )
    skewed = dataclasses.replace(statistics, history_at_test=values, sessions_per_user=values)
    for name in ("history_at_test.png", "sessions_per_user.png"):
        check(draw(name, skewed))
    axes = drawn(skewed, "history_at_test.png")
    assert axes.get_xscale() == "log"
    assert "7 more have none" in axes.get_xlabel()
    mostly_new = dataclasses.replace(values, quantiles={"p50": 0})
    check(draw("history_at_test.png", dataclasses.replace(statistics, history_at_test=mostly_new)))
