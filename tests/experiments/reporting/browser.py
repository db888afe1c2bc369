"""A headless Chromium, where there is one.

With `EXPECT_CHROMIUM` in the environment, as CI has it, a machine without one fails; else tests
that need it are skipped.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        _without("there is no Chromium on the path (Debian's package is called chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without("Playwright is not installed: pip install '.[dev]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def _without(reason: str) -> None:
    if os.environ.get("EXPECT_CHROMIUM"):
        raise AssertionError(f"EXPECT_CHROMIUM is set, but {reason}")
    pytest.skip(reason)
