"""Scales, ticks, labels and what is drawn, element by element."""

import itertools
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from experiments.reporting.drawing.axes import Axis, Scale, in_view, scale_of, spread, ticks
from experiments.reporting.drawing.bars import Bar, Box, draw_bars, draw_boxes
from experiments.reporting.drawing.dots import Dot, DotRow, Words, draw_dots
from experiments.reporting.drawing.heat_map import MAX_OPACITY, draw_heat_map
from experiments.reporting.drawing.lines import Line, Place, draw_lines
from experiments.reporting.drawing.svg import WIDTH, key_mark, shortened, width_of
from experiments.reporting.palette import SHAPES, Look

WORDS = Words("name", "A title", "What is to be seen")
EVIL = '<script>alert(1)</script> & "quotes" \x00\ud800'
AXIS = Axis("cosine")


def parsed(svg: str) -> Any:
    return ElementTree.fromstring(svg)


def of_kind(svg: str, kind: str) -> list[Any]:
    return [e for e in parsed(svg).iter() if kind in e.get("class", "").split()]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 1.0, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.31, 0.62, 5, ["−0.2", "0.0", "0.2", "0.4", "0.6"]),
        (12_000, 52_000, 4, ["20,000", "30,000", "40,000", "50,000"]),
        (0.5634, 0.5641, 4, ["0.5634", "0.5636", "0.5638", "0.5640"]),
        (0.0, 10.0, 4, ["0.0", "2.5", "5.0", "7.5", "10.0"]),
    ],
)
def test_ticks_are_round_and_in_view(low, high, most, expected):
    found = ticks(Scale(low, high, 0, 100), AXIS, most=most)
    assert [text for _, text in found] == expected


@pytest.mark.parametrize("most", [2, 3, 5, 8])
@pytest.mark.parametrize("span", [1e-6, 0.037, 1.0, 7.3, 999.0, 3e7])
@pytest.mark.parametrize("low", [-1e3, -0.5, 0.0, 0.25, 12345.0])
def test_ticks_are_neither_many_nor_none_and_tell_values_apart(low, span, most):
    scale = scale_of([low, low + span], AXIS, start=40, end=350)
    found = ticks(scale, AXIS, most=most)
    # A round step may leave one of two out.
    assert 1 <= len(found) <= most + 1
    assert all(scale.low - 1e-9 * span <= value <= scale.high + 1e-9 * span for value, _ in found)
    assert len({text for _, text in found}) == len(found)
    for value, text in found:
        digits = len(text.partition(".")[2])
        number = float(text.replace(",", "").replace("−", "-"))
        assert number == pytest.approx(value, abs=0.51 * 10**-digits)


def test_ticks_that_would_touch_are_fewer():
    dots = (Dot(Look(1, "circle"), 0.0), Dot(Look(1, "circle"), 1_500_000.0))
    svg = draw_dots([DotRow("a long label to take room", dots)], AXIS, WORDS)
    texts = [element for element in of_kind(svg, "tick") if element.get("text-anchor") == "middle"]
    places = [(float(e.get("x")), width_of(e.text)) for e in texts]
    assert len(places) >= 2
    for (left, one), (right, other) in itertools.pairwise(places):
        assert right - left > (one + other) / 2


def test_ticks_of_shares_and_whole_numbers():
    percent = Axis("x", is_percent=True, is_signed=True)
    scale = scale_of([-0.2, 0.2], percent, start=0, end=100)
    assert [text for _, text in ticks(scale, percent, most=5)] == [
        "−20 %", "−10 %", "0 %", "+10 %", "+20 %"
    ]  # fmt: skip
    whole = Axis("epoch", is_whole=True)
    scale = scale_of([1, 3], whole, start=0, end=100)
    assert [text for _, text in ticks(scale, whole, most=8)] == ["1", "2", "3"]


def test_scales_have_all_values_in_view_and_room_for_one_alone():
    for values in ([0.5], [0.0], [-3.0, 4.0, None], [], [math.nan, 2.0, 2.0]):
        scale = scale_of(values, AXIS, start=10, end=20)
        assert scale.low < scale.high
        for value in values:
            if value is not None and math.isfinite(value):
                assert 10 <= scale(value) <= 20
    with_zero = scale_of([5.0, 6.0], Axis("x", has_zero=True), start=0, end=1)
    assert with_zero.low <= 0
    bars = scale_of([0.0, 6.0], AXIS, start=7, end=9, ends_at=0.0)
    assert bars(0.0) == 7


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    wanted = [50.0, 51.0, 49.0, 200.0, 199.0]
    found = spread(wanted, least=14, low=20, high=200)
    order = sorted(range(5), key=lambda i: wanted[i])
    placed = [found[i] for i in order]
    assert all(b - a >= 14 - 1e-9 for a, b in itertools.pairwise(placed))
    assert max(found) <= 200
    assert found[2] == 49.0  # what has room stays
    assert spread([], least=14, low=0, high=1) == []


def test_dots_stand_at_their_values_with_their_intervals():
    looks = [Look(1, "circle"), Look(2, "square")]
    rows = [
        DotRow("one", (Dot(looks[0], 0.2, 0.1, 0.3),)),
        DotRow("two", (Dot(looks[1], 0.4),)),
        DotRow("three", ()),
    ]
    svg = draw_dots(rows, AXIS, WORDS)
    (circle,) = (e for e in parsed(svg).iter() if e.tag.endswith("circle"))
    (interval,) = of_kind(svg, "range")
    ends = float(interval.get("x1")), float(interval.get("x2"))
    assert ends[0] < float(circle.get("cx")) < ends[1]
    assert float(circle.get("cx")) == pytest.approx(sum(ends) / 2, abs=0.1)
    (square,) = of_kind(svg, "c2")
    x = float(re.findall(r"^M([\d.]+)", square.get("d"))[0]) + 3.6
    width = (x - float(circle.get("cx"))) / (ends[1] - ends[0])
    assert width == pytest.approx((0.4 - 0.2) / (0.3 - 0.1), abs=0.02)
    assert "not scored" in svg


def test_a_bar_begins_at_zero_and_a_line_goes_through_its_points():
    bars = draw_bars([Bar("a", 0.1), Bar("b", 0.4, 0.3, 0.5)], Axis("share", True), WORDS)
    first, second = of_kind(bars, "bar")
    assert first.get("x") == second.get("x")
    ratio = float(second.get("width")) / float(first.get("width"))
    assert ratio == pytest.approx(4, abs=0.02)
    places = (Place(0, 0.0, -0.1, 0.1), Place(1, 1.0, 0.9, 1.1), Place(2, 0.0, -0.1, 0.1))
    lines = draw_lines([Line("name", Look(1, "circle"), places)], Axis("x"), AXIS, WORDS)
    (path,) = of_kind(lines, "line")
    points = [tuple(map(float, p.split())) for p in path.get("d")[1:].split("L")]
    assert points[0][1] == points[2][1] > points[1][1]
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2, abs=0.1)
    assert len(of_kind(lines, "band")) == 1
    assert [e.text for e in of_kind(lines, "end")] == ["name"]


def test_a_cell_is_as_deep_as_its_value_and_says_it():
    values = {("a", "a"): 0.2, ("a", "b"): -0.1, ("b", "b"): 0.0}
    svg = draw_heat_map(["a", "b"], ["a", "b"], values, WORDS, axes=("from", "to"))
    cells = of_kind(svg, "cell")
    assert [cell.get("class") for cell in cells] == ["cell c1", "cell c2", "cell c1"]
    opacities = [float(cell.get("fill-opacity")) for cell in cells]
    assert opacities == pytest.approx([MAX_OPACITY, MAX_OPACITY / 2, 0.0])
    assert {"+20.0", "−10.0", "+0.0"} <= {element.text for element in parsed(svg).iter()}


def test_boxes_have_their_quantiles_in_order():
    svg = draw_boxes([Box("a", (0.0, 0.25, 0.5, 0.75, 1.0), 0.4)], AXIS, WORDS)
    (box,), (line,), (median,) = (of_kind(svg, kind) for kind in ("box", "range", "median"))
    left, width = float(box.get("x")), float(box.get("width"))
    assert float(median.get("x1")) == pytest.approx(left + width / 2, abs=0.1)
    assert float(line.get("x2")) - float(line.get("x1")) == pytest.approx(2 * width, abs=0.2)


def every_drawing(label: str) -> list[str]:
    words = Words("n", label, label)
    look = Look(1, "circle")
    return [
        draw_dots([DotRow(label, (Dot(look, 1.0),))], AXIS, words),
        draw_bars([Bar(label, 0.4)], AXIS, words),
        draw_boxes([Box(label, (0, 1, 2, 3, 4), 2)], AXIS, words),
        draw_lines([Line(label, look, (Place(0, 1), Place(1, 2)))], Axis(label), AXIS, words),
        draw_heat_map([label], [label], {(label, label): 0.1}, words, axes=(label, label)),
    ]


def test_what_a_log_says_is_text_and_never_markup():
    for svg in every_drawing(EVIL):
        assert "<script" not in svg
        root = parsed(svg)  # is well-formed
        assert {e.tag.rpartition("}")[2] for e in root.iter()}.isdisjoint({"script", "a", "image"})


def test_every_drawing_says_what_it_is_and_fits():
    for svg in every_drawing("A name that is far too long for the room that there is " * 3):
        root = parsed(svg)
        title, description = list(root)[:2]
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert title.text
        assert description.text
        _, _, width, height = map(float, root.get("viewBox").split())
        assert width == WIDTH
        for element in root.iter():
            if element.tag == "text":
                x, anchor = float(element.get("x")), element.get("text-anchor")
                length = width_of(element.text or "")
                left = x - length * {"end": 1.0, "middle": 0.5}.get(anchor, 0.0)
                kind = element.get("class", "")
                if "slanted" not in kind:
                    assert left >= -1, (kind, element.text)
                    assert left + length <= WIDTH + 1, (kind, element.text)
                assert 0 <= float(element.get("y")) <= height


def test_shapes_differ_and_long_names_are_cut():
    marks = {key_mark(Look(1, shape)) for shape in SHAPES}
    assert len(marks) == len(SHAPES)
    assert shortened("short", 200) == "short"
    cut = shortened("x" * 100, 100)
    assert cut.endswith("…")
    assert width_of(cut) <= 100


def test_what_is_not_possible_is_not_drawn_and_does_not_widen_the_axis():
    """An interval of a share that reaches from −1 to 2."""
    share = Axis("share", least=0.0, most=1.0)
    wide = (Place(0, 0.4, -1.0, 2.0), Place(1, 0.5, 0.45, 0.55))
    scale = scale_of([0.4, -1.0, 2.0, 0.5, None], share, start=0, end=100)
    assert scale(0.0) > 0
    assert scale.low == pytest.approx(-0.04)
    assert scale.high == pytest.approx(1.04)
    svg = draw_lines([Line("", Look(1, "circle"), wide)], Axis("day"), share, WORDS)
    (band,) = of_kind(svg, "band")
    heights = [float(y) for y in re.findall(r"[-\d.]+[ ,]([-\d.]+)", band.get("d"))]
    ends = [e for e in of_kind(svg, "tick") if e.get("text-anchor") == "end"]
    y = {float(e.text): float(e.get("y")) - 4 for e in ends}
    assert len(heights) == 4
    assert min(heights) == pytest.approx(y[1.0], abs=0.1)
    assert max(heights) == pytest.approx(y[0.0], abs=0.1)


def test_an_interval_much_longer_than_the_others_does_not_widen_an_axis_that_cuts():
    look = Look(1, "circle")
    dots = [Dot(look, 0.20, 0.19, 0.21), Dot(look, 0.21, 0.20, 0.22), Dot(look, 0.21, 0.0, 1.0)]
    axis = Axis("cosine", cuts_long=True)
    # The median length is 0.02.
    assert sorted(in_view([(d.value, d.low, d.high) for d in dots], axis)) == pytest.approx(
        [0.16, 0.19, 0.20, 0.20, 0.21, 0.21, 0.21, 0.22, 0.25]
    )
    assert 1.0 in in_view([(d.value, d.low, d.high) for d in dots], AXIS)
    assert in_view([(0.3, None, None)], axis) == [0.3]
    svg = draw_dots([DotRow("a", tuple(dots))], axis, WORDS)
    texts = [e.text for e in of_kind(svg, "tick") if e.get("text-anchor") == "middle"]
    assert all(0.15 < float(text) < 0.26 for text in texts)
    one, other, long = ((float(e.get("x1")), float(e.get("x2"))) for e in of_kind(svg, "range"))
    assert 0 < long[0] < one[0] < other[0] < other[1] < long[1] <= WIDTH
    places = tuple(Place(x, d.value, d.low, d.high) for x, d in enumerate(dots))
    svg = draw_lines([Line("", look, places)], Axis("day"), axis, WORDS)
    heights = [e.text for e in of_kind(svg, "tick") if e.get("text-anchor") == "end"]
    assert all(0.15 < float(text) < 0.26 for text in heights)
    (band,) = of_kind(svg, "band")
    found = [float(y) for y in re.findall(r"[-\d.]+[ ,]([-\d.]+)", band.get("d"))]
    assert all(20 < y < 210 for y in found)
