"""What is searched."""

import pytest

from cosernn_tf.errors import UserError
from experiments.tuning.space import PAPER, SEARCHED, Dimension, parse_space


def test_the_papers_grid_is_that_of_its_text():
    """§5.2.2."""
    space = parse_space(PAPER)
    assert {dimension.flag: dimension.values for dimension in space.dimensions} == {
        "learning_rate": (0.001, 0.0005, 0.0001),
        "lstm_units": (100, 200, 400),
        "batch_size": (128, 256, 512),
    }
    assert space.size == 27


def test_values_and_ranges():
    space = parse_space(["lstm_units=8..64", "clip_norm=0,1", "learning_rate=1e-4..0.01"])
    assert space.dimensions == (
        Dimension("lstm_units", (8, 64), is_range=True),
        Dimension("clip_norm", (0.0, 1.0)),
        Dimension("learning_rate", (0.0001, 0.01), is_range=True),
    )
    assert [dimension.is_whole for dimension in space.dimensions] == [True, False, False]
    assert space.size is None
    assert list(map(str, space.dimensions))[1:] == [
        "clip_norm=0.0,1.0",
        "learning_rate=0.0001..0.01",
    ]


def test_every_flag_that_is_offered_can_be_searched():
    for flag in SEARCHED:
        assert parse_space([f"{flag}=2,3"]).flags == (flag,)


@pytest.mark.parametrize(
    ("searches", "message"),
    [
        ([], "--search is empty"),
        (["seed=1,2"], "--search=seed=1,2: 'seed' is none of batch_size, clip_norm"),
        (["model=jodie"], "'model' is none of"),
        (["batch_size"], "expected batch_size= with numbers"),
        (["batch_size=1.5,2"], r"expected batch_size= with numbers \(int\) as a,b,c"),
        (["learning_rate=high"], r"expected learning_rate= with numbers \(float\)"),
        (["batch_size=4,8,4"], "--search=batch_size=4,8,4 has a value twice"),
        (["batch_size=4", "batch_size=8"], "--search names batch_size twice"),
        (["batch_size=8..4"], r"a range is lowest\.\.highest, and above 0"),
        (["clip_norm=0..4"], r"a range is lowest\.\.highest, and above 0"),
        (["batch_size=1..2..3"], r"a range is lowest\.\.highest"),
        (["batch_size=0,4"], "--batch_size=0 must be at least 1"),
        (["learning_rate=nan,0.1"], "--learning_rate=nan must be above 0 and finite"),
        (["lstm_units=-1,4"], "--lstm_units=-1 must be at least 1"),
    ],
)
def test_what_cannot_be_searched(searches, message):
    with pytest.raises(UserError, match=message):
        parse_space(searches)
