"""Clicks at places of a scan: LPS millimetres to slices and pixels of a plane in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medlsam.viewer.pictures import VIEWS
from tests.support.browser import Tab

#: The plane in which each axis is seen from the side: points of z are placed where z runs along the picture.
PLANE_OF_AXIS = ("axial", "axial", "coronal")


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
        size = shape[[view.across, view.down]] * spacing[[view.across, view.down]]
        scale = min(box["width"] / size[0], box["height"] / size[1])
        ijk = (np.asarray(lps) - origin) / spacing
        column, row = ijk[view.across], ijk[view.down]
        if view.flipped:
            row = shape[view.down] - 1 - row
        x = (box["width"] - size[0] * scale) / 2 + (column + 0.5) * spacing[view.across] * scale
        y = (box["height"] - size[1] * scale) / 2 + (row + 0.5) * spacing[view.down] * scale
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
