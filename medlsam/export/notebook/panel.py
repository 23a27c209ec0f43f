"""What the widgets have in common: the table of structures, and a choice of the window of HU."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from medlsam.export.notebook.shown import Shown
from medlsam.windows import WINDOWS, Window, window_of


def ipywidgets() -> ModuleType | None:
    """The library, or None where it is not installed (it comes with the extra ``niivue``)."""
    return installed("ipywidgets")


def installed(name: str) -> ModuleType | None:
    """Import an optional library; None where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise  # it is installed, and lacks something itself
        return None


class Panel:
    """A widget that shows a scan: the table above, a choice of windows, and what a subclass puts below.

    Attributes:
        shown: what it shows now.
        widget: the widget itself, which a notebook displays.
    """

    def __init__(self, library: ModuleType, shown: Shown, window: str) -> None:
        self.shown = shown
        self._hu: Window = window_of(window)
        self._table = library.HTML(shown.html())
        # A hundred structures would push the scan out of the window.
        self._table.layout.max_height, self._table.layout.overflow = "260px", "auto"
        self._windows = library.Dropdown(options=list(WINDOWS), value=window, description="window")
        self._windows.observe(self._choose, names="value")
        self.widget: Any = library.VBox([self._table, self._windows])

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the widget."""
        return self.widget.comm is not None

    def set_window(self, window: str) -> None:
        """Show another window of HU.

        Raises:
            UsageError: no such window.
        """
        self._windows.value = window_of(window).name

    def update(self, shown: Shown) -> None:
        """Show other structures on the same scan."""
        self.shown = shown
        self._table.value = shown.html()
        self._redraw()

    def _choose(self, change: Any) -> None:
        self._hu = window_of(change["new"])
        self._rewindow()

    def _redraw(self) -> None:
        """Show ``shown``, whose scan is the one that was shown before."""
        raise NotImplementedError

    def _rewindow(self) -> None:
        """Show the window ``_hu``."""
        raise NotImplementedError
