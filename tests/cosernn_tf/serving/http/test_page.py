"""The page in a real browser: on a phone and a desk, light and dark, by keyboard, for readers."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from cosernn_tf.serving.http.config import ServeConfig
from tests.cosernn_tf.serving.http.served import served
from tests.experiments.reporting.browser import chromium
from tests.experiments.reporting.test_page_in_browser import BEYOND_THE_EDGE, FAINT_TEXT

VIEWS = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]
SECONDS_TO_WAIT = 30
TOKEN = "correct-horse-battery-staple"
TRACKS = (
    "() => [...document.querySelectorAll('#tracks .name > :first-child')].map(e => e.innerText)"
)
SEEN = "() => [...document.querySelectorAll('#tracks .score')].map(e => parseFloat(e.innerText))"
INK = """
() => {
    const canvas = document.getElementById('map');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let inked = 0;
    for (let i = 3; i < pixels.length; i += 4) inked += pixels[i] > 0;
    return inked;
}
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Visit:
    """A page that is open, and what it did."""

    def __init__(self, browser: Any, port: int, width: int, scheme: str = "light") -> None:
        self.told: list[str] = []
        self.address = f"http://127.0.0.1:{port}/"
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page.on("console", lambda message: self.told.append(message.text))
        self.page.on("pageerror", lambda error: self.told.append(str(error)))
        self.page.on(
            "request",
            lambda request: (
                None if request.url.startswith(self.address) else self.told.append(request.url)
            ),
        )
        self.page.goto(self.address)

    def settled(self, *, other_than: str = "") -> "Visit":
        """Once it has told the answer to what it has asked, and this is another one."""
        # The page's policy forbids what Playwright would wait by.
        end = time.monotonic() + SECONDS_TO_WAIT
        while not (text := self.page.inner_text("#status")).endswith(".") or text == other_than:
            assert time.monotonic() < end, (text, self.told)
            self.page.wait_for_timeout(10)
        return self

    def tracks(self) -> list[str]:
        found: list[str] = self.page.evaluate(TRACKS)
        return found

    def after(self, action: Callable[[], object]) -> list[str]:
        """The tracks, once an action has brought others."""
        before = self.page.inner_text("#status")
        action()
        return self.settled(other_than=before).tracks()


@pytest.fixture(scope="module")
def visits(browser, server):
    """By width and scheme."""
    return {view: Visit(browser, server.port, *view).settled() for view in VIEWS}


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_told_or_asked_for_elsewhere(visits, view):
    assert visits[view].told == []
    assert len(visits[view].tracks()) == 10


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_the_screen(visits, view):
    page = visits[view].page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(BEYOND_THE_EDGE) == []


@pytest.mark.parametrize("view", VIEWS)
def test_text_stands_out(visits, view):
    page = visits[view].page
    found = page.evaluate(FAINT_TEXT.replace("'TITLE'", "'TITLE', 'OPTION'"))
    assert found["shown"] > 50
    assert found["faint"] == []


@pytest.mark.parametrize("view", [VIEWS[0], VIEWS[3]])
def test_axe_has_nothing_to_say(visits, view):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(visits[view].page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("view", VIEWS)
def test_the_map_is_drawn_and_told(visits, view):
    page = visits[view].page
    assert page.evaluate(INK) > 500
    assert "Of the 181 tracks drawn" in page.inner_text("#map-text")


def test_it_shows_what_the_api_says(visits, server):
    page = visits[1280, "light"].page
    user = page.input_value("#user")
    history = server.get(f"/v1/users/{user}/history?last=20").json["sessions"]
    items = page.query_selector_all("#sessions > li")
    assert len(items) == len(history)
    latest = history[-1]
    text = items[0].inner_text()
    assert latest["day_of_week"] in text
    assert f"{latest['hour']:02}:00" in text
    assert latest["device"] in text
    names = [e.inner_text() for e in items[0].query_selector_all(".track-name")]
    assert names == [
        track["track_id"] or "a track that the vocabulary lacks" for track in latest["tracks"]
    ]
    skipped = [e.inner_text() for e in page.query_selector_all("#sessions .track-name.skipped")]
    assert len(skipped) == sum(t["skipped"] for past in history for t in past["tracks"])
    scores = page.evaluate(SEEN)
    assert scores == sorted(scores, reverse=True)
    share = page.inner_text("#beta-share").removesuffix(" %")
    assert 0 <= int(share) <= 100
    assert page.evaluate("document.getElementById('beta-long').style.width") == f"{share}%"


def test_another_device_or_hour_brings_other_tracks(browser, server):
    visit = Visit(browser, server.port, 360).settled()
    first = visit.tracks()
    device = visit.page.evaluate("document.querySelector('input[name=device]:checked').value")
    chosen = {slider: visit.page.input_value(slider) for slider in ("#hour", "#day")}
    other = "speaker" if device != "speaker" else "web"
    second = visit.after(lambda: visit.page.click(f"label:has(#device-{other})"))
    assert second != first
    assert f"on {other}" in visit.page.inner_text("#status")
    third = visit.after(lambda: visit.page.fill("#hour", "3"))
    assert third != second
    assert "03:00" in visit.page.inner_text("#status")
    day = "Sunday" if visit.page.input_value("#day") != "6" else "Monday"
    visit.after(lambda: visit.page.fill("#day", "6" if day == "Sunday" else "0"))
    assert day in visit.page.inner_text("#status")
    assert "moved by" in visit.page.inner_text("#map-text")
    # What was asked has not changed the user.
    visit.after(lambda: visit.page.fill("#hour", chosen["#hour"]))
    visit.after(lambda: visit.page.fill("#day", chosen["#day"]))
    assert visit.after(lambda: visit.page.click(f"label:has(#device-{device})")) == first
    assert visit.told == []


def test_a_listen_changes_the_state(browser, server):
    visit = Visit(browser, server.port, 1280).settled()
    page = visit.page
    user = page.input_value("#user")
    before = page.inner_text("#basis")
    track = visit.tracks()[0]
    visit.after(lambda: page.click("#tracks li:first-child button"))
    assert "Listened: the open session has 1 listen now" in page.inner_text("#status")
    newest = page.query_selector("#sessions > li.open")
    assert "open" in newest.inner_text()
    assert [e.inner_text() for e in newest.query_selector_all(".track-name")] == [track]
    assert page.inner_text("#basis") != before
    visit.after(lambda: page.click("#tracks li:nth-child(2) button"))
    assert "the open session has 2 listens now" in page.inner_text("#status")
    (last,) = server.get(f"/v1/users/{user}/history?last=1").json["sessions"]
    assert last["is_open"]
    assert last["num_tracks"] == 2


def test_by_keyboard_alone(browser, server):
    visit = Visit(browser, server.port, 360).settled()
    page = visit.page

    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.innerText"))

    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(focused())
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none" or seen[-1].startswith("device-"), seen[-1]
    order = ["To the recommended tracks", "The API", "user-list", "user", "Show", "day", "hour"]
    assert seen[:7] == order
    assert seen[7].startswith("device-")
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    # Wherever the focus is, arrows choose the device and move the sliders.
    page.focus("#day")
    page.keyboard.press("Tab")
    visit.after(lambda: page.keyboard.press("ArrowLeft"))
    page.keyboard.press("Tab")
    visit.after(lambda: page.keyboard.press("ArrowRight"))
    page.fill("#user", "somebody new")
    page.focus("#user")
    visit.after(lambda: page.keyboard.press("Enter"))
    assert "Nothing is known of this user" in page.inner_text("#basis")
    assert "Nothing yet." in page.inner_text("#sessions")
    page.focus("#tracks button")
    visit.after(lambda: page.keyboard.press("Enter"))
    assert "the open session has 1 listen now" in page.inner_text("#status")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    assert visit.told == []


def test_ids_are_shown_as_text(browser, server):
    user = "<img src=x onerror=alert(1)>/../%2e"
    listen = {"user_id": user, "track_id": "<b>bold</b>", "timestamp": 1_560_000_000}
    assert server.listens(listen).status == 200
    visit = Visit(browser, server.port, 360).settled()
    visit.page.fill("#user", user)
    visit.after(lambda: visit.page.click("#user-form button"))
    assert visit.page.inner_text("#sessions .track-name") == "<b>bold</b>"
    assert visit.told == []


def test_where_a_token_is_needed_the_page_asks_for_it(browser, open_recommender):
    with served(open_recommender, ServeConfig(token=TOKEN, access_log=False)) as guarded:
        visit = Visit(browser, guarded.port, 360)
        visit.page.wait_for_selector("#token-form:not([hidden])")
        assert "the token is missing or wrong" in visit.page.inner_text("#problem")
        visit.page.fill("#token", TOKEN)
        visit.page.keyboard.press("Enter")
        visit.settled()
        assert len(visit.tracks()) == 10
        assert visit.page.is_hidden("#problem")
        assert visit.page.is_hidden("#token-form")


def test_the_description_of_the_api_needs_no_network(browser, server):
    told: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url))
    page.goto(f"http://127.0.0.1:{server.port}/docs")
    page.wait_for_selector("text=recommendations")
    assert [
        text
        for text in told
        if f"127.0.0.1:{server.port}/" not in text and not text.startswith("data:")
    ] == []
