"""The catalogue: levels that nest, popularity by Zipf, draws in proportion to it, charts."""

import numpy as np
import pytest

from beam_pipelines.synthetic import SyntheticConfig
from beam_pipelines.synthetic.catalogue import (
    CHART_PLACES,
    GENRE_OF_STYLE,
    GENRES,
    NUM_STYLES,
    STYLES_PER_GENRE,
    TRAITS,
    Catalogue,
    build_catalogue,
)


@pytest.fixture(scope="module", params=[2_000, 20_000])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    return build_catalogue(SyntheticConfig(num_tracks=request.param))


def test_track_ids_are_distinct_and_tell_nothing_of_the_order(catalogue: Catalogue):
    ids = catalogue.track_ids
    assert len(set(ids)) == len(ids) == catalogue.num_tracks
    order = np.argsort(ids)
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.1


def test_albums_lie_within_artists_and_artists_within_styles(catalogue: Catalogue):
    for inner, outer in (("album", "artist"), ("artist", "style")):
        pairs = {*zip(getattr(catalogue, inner), getattr(catalogue, outer), strict=True)}
        assert len(pairs) == len({pair[0] for pair in pairs}), (inner, outer)
    for level in ("album", "artist", "style"):
        rows, splits = getattr(catalogue, level), getattr(catalogue, f"{level}_splits")
        assert splits[0] == 0
        assert splits[-1] == catalogue.num_tracks
        np.testing.assert_array_equal(rows, np.repeat(np.arange(len(splits) - 1), np.diff(splits)))
    assert np.diff(catalogue.style_splits).min() > 5


def test_popularity_is_zipfian_within_a_style_and_follows_its_share(catalogue: Catalogue):
    assert catalogue.weight.sum() == pytest.approx(1)
    by_style = np.bincount(catalogue.style, catalogue.weight)
    by_genre = by_style.reshape(len(GENRES), STYLES_PER_GENRE).sum(axis=1)
    expected = np.array([genre.share for genre in GENRES])
    np.testing.assert_allclose(by_genre, expected / expected.sum(), rtol=1e-9)
    for style in range(NUM_STYLES):
        weight = np.sort(catalogue.weight[catalogue.style == style])[::-1]
        # w_r proportional to (r + 4)^-0.95: the ratio of the first to the last is known.
        assert weight[0] / weight[-1] == pytest.approx(((len(weight) + 3) / 4) ** 0.95)


def test_draws_are_in_proportion_to_popularity(catalogue: Catalogue):
    count = 200_000
    uniform = (np.arange(count) + 0.5) / count
    style = 17
    drawn = catalogue.draw_from_style(np.full(count, style), uniform)
    within = catalogue.weight * (catalogue.style == style)
    expected = count * within / within.sum()
    actual = np.bincount(drawn, minlength=catalogue.num_tracks)
    np.testing.assert_allclose(actual, expected, atol=1.5)


@pytest.mark.parametrize("edge", [0.0, np.nextafter(1.0, 0.0)])
def test_draws_stay_in_their_range_at_the_edges(catalogue: Catalogue, edge: float):
    styles = np.arange(NUM_STYLES)
    uniform = np.full(NUM_STYLES, edge)
    np.testing.assert_array_equal(
        catalogue.style[catalogue.draw_from_style(styles, uniform)], styles
    )
    genres = np.arange(len(GENRES))
    drawn = catalogue.draw_from_genre(genres, uniform[: len(genres)])
    np.testing.assert_array_equal(GENRE_OF_STYLE[catalogue.style[drawn]], genres)
    artists = np.unique(catalogue.artist)
    drawn = catalogue.draw_from_artist(artists, np.full(len(artists), edge))
    np.testing.assert_array_equal(catalogue.artist[drawn], artists)


def test_charts_are_of_the_mainstream_and_change_slowly(catalogue: Catalogue):
    charts = catalogue.charts
    assert charts.shape == (61 // 7 + 1, CHART_PLACES)
    assert all(len(set(week)) == CHART_PLACES for week in charts)
    kept = np.mean(charts[1:] == charts[:-1])
    assert kept == pytest.approx(0.8, abs=0.08)
    mainstream = np.array([genre.traits[TRAITS.index("mainstream")] for genre in GENRES])
    assert mainstream[GENRE_OF_STYLE[catalogue.style[charts]]].mean() > 0.7
    assert catalogue.weight[charts].mean() > 1.5 * catalogue.weight.mean()
