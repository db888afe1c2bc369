"""The page in a real browser: on a phone and a desk, light and dark, by keyboard, for readers."""

import json
from typing import Any

import pytest

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.run import analyze
from experiments.reporting.run import make_report
from tests.experiments.reporting.browser import chromium
from tests.experiments.reporting.full_workspace import write_full_workspace

VIEWS = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"

FIGURES = """
() => [...document.querySelectorAll('figure')].map(figure => ({
    name: figure.id,
    drawings: [...figure.querySelectorAll('.panel svg')].map(svg => {
        const box = svg.getBoundingClientRect();
        return {
            width: box.width,
            height: box.height,
            marks: svg.querySelectorAll('.mark, .hollow, .bar, .box, .line, .cell').length,
            texts: [...svg.querySelectorAll('text:not(.slanted)')].map(text => {
                const place = text.getBoundingClientRect();
                return [text.textContent, place.left - box.left, place.top - box.top,
                        place.right - box.left, place.bottom - box.top];
            }),
        };
    }),
    rows: figure.querySelectorAll('details tbody tr').length,
}))
"""
BEYOND_THE_EDGE = """
() => [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') && !e.closest('pre') && !e.closest('.skip'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 120))
"""
FAINT_TEXT = """
() => {
    const luminance = text => {
        const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const colour = getComputedStyle(element).backgroundColor;
        const isClear = colour === 'transparent' || /, 0\\)$/.test(colour);
        return isClear && element.parentElement ? behind(element.parentElement) : colour;
    };
    const hasText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const shown = [...document.querySelectorAll('body *')].filter(
        e => hasText(e) && !['TITLE', 'DESC'].includes(e.tagName.toUpperCase()));
    const faint = shown.map(element => {
        const style = getComputedStyle(element);
        const colour = element.ownerSVGElement ? style.fill : style.color;
        const [low, high] = [luminance(colour), luminance(behind(element))].sort((a, b) => a - b);
        return [element.textContent.slice(0, 60), (high + 0.05) / (low + 0.05)];
    }).filter(([_, contrast]) => contrast < 4.5);
    return {shown: shown.length, faint};
}
"""
FOCUS = """
() => {
    const e = document.activeElement;
    const style = getComputedStyle(e);
    return {tag: e.tagName, id: e.id, name: e.className, href: e.getAttribute('href'),
            caption: e.getAttribute('aria-labelledby'), outline: style.outlineStyle,
            left: e.getBoundingClientRect().left};
}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        workspace = write_full_workspace(tmp_path_factory.mktemp("browser") / "ws", patch)
    analyze(workspace, config=AnalysisConfig())
    return make_report(workspace).page.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Visit:
    """A page that is open, and what it did."""

    def __init__(self, browser: Any, address: str, width: int, scheme: str) -> None:
        self.told: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on("dialog", lambda dialog: self.told.append(dialog.message))
        self.page.on("request", lambda request: self.told.append(request.url))
        self.page.goto(address)

    def focused(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(FOCUS)
        return found


@pytest.fixture(scope="module")
def visits(browser, address):
    """By width and scheme."""
    return {view: Visit(browser, address, *view) for view in VIEWS}


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_told_asked_for_or_run(visits, view, address):
    visits[view].page.wait_for_load_state("networkidle")
    told = [text for text in visits[view].told if not text.startswith("data:")]
    assert told == [address]


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_the_screen_unfolded_or_not(visits, view):
    page = visits[view].page
    for unfold in ("0", OPEN_ALL):
        page.evaluate(unfold)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(BEYOND_THE_EDGE) == []
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )  # what is wide scrolls by itself
    # A shadow at the edge of what scrolls, which goes with the last column.
    cues = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e))"
        ".map(s => [s.backgroundAttachment, s.backgroundImage.split('linear-gradient').length - 1])"
    )
    assert {tuple(cue) for cue in cues} == {("local, local, scroll, scroll", 4)}


@pytest.mark.parametrize("view", VIEWS)
def test_every_figure_is_there_with_its_numbers(visits, view):
    width, _ = view
    figures = visits[view].page.evaluate(FIGURES)
    names = {figure["name"].removeprefix("figure-") for figure in figures}
    assert names == {
        *("means", "differences", "improvement", "learning", "attention"),
        *(
            "groups",
            "calibration",
            "retrieval",
            "lists",
            "contexts",
            "variety",
            "skips",
            "skip_curve",
            "nearest",
        ),
    }
    for figure in figures:
        assert figure["drawings"], figure["name"]
        assert figure["rows"], figure["name"]
        for drawing in figure["drawings"]:
            assert 250 < drawing["width"] <= width
            assert drawing["height"] > 40
            assert drawing["marks"], figure["name"]


@pytest.mark.parametrize("view", VIEWS)
def test_no_text_in_a_drawing_covers_another_or_is_cut(visits, view):
    for figure in visits[view].page.evaluate(FIGURES):
        for drawing in figure["drawings"]:
            texts = drawing["texts"]
            for text, left, top, right, bottom in texts:
                assert left > -4, (figure["name"], text)
                assert right < drawing["width"] + 4, (figure["name"], text)
                assert top > -4, (figure["name"], text)
                assert bottom < drawing["height"] + 4, (figure["name"], text)
            for place, (one, *a) in enumerate(texts):
                for other, *b in texts[place + 1 :]:
                    across = min(a[2], b[2]) - max(a[0], b[0])
                    down = min(a[3], b[3]) - max(a[1], b[1])
                    assert across < 1 or down < 4, (figure["name"], one, other)


@pytest.mark.parametrize("view", VIEWS)
def test_text_has_a_contrast_of_4_5_and_dark_is_dark(visits, view):
    page = visits[view].page
    page.evaluate(OPEN_ALL)
    found = page.evaluate(FAINT_TEXT)
    assert found["faint"] == []
    assert found["shown"] > 1_000
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] | 0")
    assert (red < 60) == (view[1] == "dark")


def test_axe_finds_nothing(visits):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visits[360, "dark"].page
    page.evaluate(OPEN_ALL)
    # Contrast is the test's above, at a tenth of the time.
    rules = {"color-contrast": {"enabled": False}}
    results = axe.Axe().run(page, options={"resultTypes": ["violations"], "rules": rules})
    found = [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in results.response["violations"]
    ]
    assert found == [], json.dumps(found, indent=1)


def test_all_of_it_is_reached_by_keyboard(browser, address):
    visit = Visit(browser, address, 360, "light")
    page = visit.page
    page.keyboard.press("Tab")
    first = visit.focused()
    assert first["href"] == "#main"
    assert first["left"] >= 0  # it comes into view
    page.keyboard.press("Enter")
    assert visit.focused()["id"] == "main"
    page.evaluate(
        f"window.reached = []; addEventListener('focusin', () => reached.push(({FOCUS})()))"
    )
    wanted = page.evaluate(
        "[...document.querySelectorAll('main a, main summary, main [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).map(e => [e.tagName, e.getAttribute('href'),"
        " e.getAttribute('aria-labelledby')])"
    )
    for _ in wanted:
        page.keyboard.press("Tab")
    reached = page.evaluate("reached")
    assert [[e["tag"], e["href"], e["caption"]] for e in reached] == wanted
    assert {e["outline"] for e in reached} == {"solid"}
    assert sum(e["name"] == "scroll" for e in reached) > 3
    page.focus("figure summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('figure details').open")
