"""Clicks at places of a scan: LPS millimetres to slices and pixels of a plane in the browser.

``add``, ``open_scan`` and ``place_all`` are what a person does in the page of ``medlsam annotate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medlsam.geometry import FACES, ExtremePoints
from medlsam.viewer.pictures import VIEWS
from tests.support.web.browser import Tab

#: The plane in which each axis is seen from the side: points of z are placed where z runs along the picture.
PLANE_OF_AXIS = ("axial", "axial", "coronal")
#: Faces in the order in which the page asks for their points.
ORDER = ("z+", "z-", "x-", "x+", "y-", "y+")


class Pointer:
    """Points at places of the scan that a page shows.

    Attributes:
        tab: with the page.
        geometry: of the scan, as the server gives it.
    """

    def __init__(self, tab: Tab, geometry: Any) -> None:
        self.tab, self.geometry = tab, geometry

    def index(self, plane: str, lps: Sequence[float]) -> int:
        """The slice of a plane that holds a place."""
        cut = VIEWS[plane].cut
        return round((lps[cut] - self.geometry["origin"][cut]) / self.geometry["spacing"][cut])

    def walk(self, plane: str, index: int) -> None:
        """Go to a slice by keys, as a person does, and wait for its picture."""
        self.tab.page.focus(f"#{plane}")
        now = self.tab.shown(plane)
        tens, ones = divmod(abs(index - now), 10)
        for _ in range(tens):
            self.tab.page.keyboard.press("PageUp" if index > now else "PageDown")
        for _ in range(ones):
            self.tab.page.keyboard.press("ArrowUp" if index > now else "ArrowDown")
        self.tab.page.wait_for_selector(f'#{plane}[data-shown="{index}"]')

    def position(self, plane: str, lps: Sequence[float]) -> tuple[float, float]:
        """Where a place lies in the window, pixels."""
        view = VIEWS[plane]
        shape, origin, spacing = (
            np.array(self.geometry[key], float) for key in ("shape", "origin", "spacing")
        )
        box = self.tab.page.locator(f"#{plane}").bounding_box()
        assert box is not None
        size = shape[[view.across, view.up]] * spacing[[view.across, view.up]]
        scale = min(box["width"] / size[0], box["height"] / size[1])
        ijk = (np.asarray(lps) - origin) / spacing
        column, row = ijk[view.across], ijk[view.up]
        if view.upwards:
            row = shape[view.up] - 1 - row
        x = (box["width"] - size[0] * scale) / 2 + (column + 0.5) * spacing[view.across] * scale
        y = (box["height"] - size[1] * scale) / 2 + (row + 0.5) * spacing[view.up] * scale
        return box["x"] + x, box["y"] + y

    def click(self, plane: str, lps: Sequence[float], **how: Any) -> None:
        """Click a place: walk to its slice, then click its pixel."""
        self.walk(plane, self.index(plane, lps))
        self.tab.page.mouse.click(*self.position(plane, lps), **how)

    def drag(self, plane: str, start: Sequence[float], end: Sequence[float]) -> None:
        """Drag from one place to another in the slice that is shown."""
        mouse = self.tab.page.mouse
        mouse.move(*self.position(plane, start))
        mouse.down()
        mouse.move(*self.position(plane, np.add(start, end) / 2))
        mouse.move(*self.position(plane, end))
        mouse.up()


def add(tab: Tab, name: str) -> None:
    """Type the name of a structure."""
    tab.page.fill("#name", name)
    tab.page.click("#add button")
    tab.page.locator("#structures button.chosen", has_text=name).wait_for()


def open_scan(tab: Tab, case: str) -> Pointer:
    """Choose a scan in the list, and wait until it is shown."""
    ask = "path => fetch(path).then((answer) => answer.json())"
    index = [own["case"] for own in tab.page.evaluate(ask, "/api/project")["cases"]].index(case)
    tab.page.locator("#cases button", has_text=case).click()
    tab.page.locator("#cases li.chosen", has_text=case).wait_for()
    opened = tab.page.evaluate(ask, f"/api/case/{index}")
    tab.page.locator("#message", has_text="reading").wait_for(state="detached")
    tab.shown()
    return Pointer(tab, opened["geometry"])


def place_all(tab: Tab, pointer: Pointer, points: ExtremePoints) -> None:
    """Click the six points of the chosen structure, each when the page asks for it."""
    for face in ORDER:
        tab.page.locator(f'#faces button.chosen[data-face="{face}"]').wait_for()
        point = points.array[FACES.index(face)]
        pointer.click(PLANE_OF_AXIS["xyz".index(face[0])], point.tolist())
        tab.page.locator(f'#faces button[data-face="{face}"]', has_text="✓").wait_for()
