"""A headless Chromium that notes what a page must not do: errors in its console, requests to elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """The path of an installed Chromium (``MEDLSAM_CHROMIUM``, or by its usual names); skips where there is none."""
    found = os.environ.get("MEDLSAM_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here (apt-get install chromium, or set MEDLSAM_CHROMIUM)")
    return found


class Tab:
    """A page in the browser.

    Attributes:
        page: Playwright's.
        complaints: errors in the console, and requests that left this machine.
    """

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "blob:", "data:", "file:")):
            self.complaints.append(f"request: {request.url}")

    def shown(self, plane: str = "axial") -> int:
        """Wait for a plane's picture, and return the index of its slice."""
        self.page.wait_for_selector(f'#{plane}[data-shown]:not([data-shown=""])')
        return int(self.page.get_attribute(f"#{plane}", "data-shown"))


@contextmanager
def browser(width: int = 1400, height: int = 850, scripts: bool = True, phone: bool = False) -> Iterator[Tab]:
    """Open a tab in a headless Chromium, of a size in pixels.

    Args:
        width: of the window.
        height: of the window.
        scripts: whether the page's scripts run.
        phone: whether it has fingers and no mouse, and twice as fine pixels.
    """
    path = chromium()
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright (pip install playwright)"
    )
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=path,
            # In a container there is no sandbox, and shared memory is small.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        try:
            touch = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2} if phone else {}
            size = {"width": width, "height": height}
            yield Tab(started.new_context(viewport=size, java_script_enabled=scripts, **touch))
        finally:
            started.close()
