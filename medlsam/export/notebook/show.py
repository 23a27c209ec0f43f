"""The best way to show a result that is installed: NiiVue, a slider, or pictures with a word about the others."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from medlsam.errors import UsageError
from medlsam.export.notebook.cells import (
    Edits,
    localization_html,
    localization_table,
    segmentation_html,
    segmentation_table,
    session_html,
    session_table,
)
from medlsam.export.notebook.niivue import NiiVuePanel, ipyniivue
from medlsam.export.notebook.panel import Panel, ipywidgets
from medlsam.export.notebook.shown import Shown, shown_localization, shown_segmentation
from medlsam.export.notebook.slider import SliderPanel
from medlsam.results import Localization, Segmentation
from medlsam.volume import Image
from medlsam.windows import window_of

_log = logging.getLogger(__name__)

HINT = (
    "These are pictures only: pip install 'medlsam[niivue]' (ipyniivue) to go through all slices, or ipywidgets "
    "for a plain slider."
)

#: A result to its panel, so that showing it again makes no second copy of the scan.
_panels: WeakKeyDictionary[Localization | Segmentation, Panel] = WeakKeyDictionary()


class Pictures:
    """What is shown where no widget is installed.

    Attributes:
        html: table and pictures.
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return f"{self.html}\n<p>{HINT}</p>"

    def __repr__(self) -> str:
        return HINT


def show_segmentation(segmentation: Segmentation, window: str, image: Image | None) -> Any:
    """See ``Segmentation.show``."""

    def make() -> Shown:
        return shown_segmentation(segmentation, image, segmentation_table(segmentation))

    if _make() is not None:
        return _panel_of(segmentation, make, window, image).widget
    return Pictures(segmentation_html(_with_scan(segmentation, image, window)))


def show_localization(localization: Localization, window: str, image: Image | None) -> Any:
    """See ``Localization.show``."""

    def make() -> Shown:
        return shown_localization(localization, image, localization_table(localization))

    if _make() is not None:
        return _panel_of(localization, make, window, image).widget
    return Pictures(localization_html(_with_scan(localization, image, window)))


def show_session(
    result: Segmentation, edits: Edits, window: str, panel: Panel | None
) -> tuple[Any, Panel | None]:
    """Show a session.

    Args:
        result: its masks as they stand.
        edits: a row of the table for each structure.
        window: of HU.
        panel: that shows it already, or None.

    Returns:
        What a notebook displays, and the panel behind it, which ``follow_session`` wants; None where there are only
        pictures, which stay as they are.

    Raises:
        UsageError: no such window.
    """
    make = _make()
    if make is None:
        window_of(window)
        return Pictures(session_html(result, edits)), None
    if panel is not None and panel.is_open:
        panel.set_window(window)
    else:
        panel = make(shown_segmentation(result, None, session_table(result.case, edits)), window)
    return panel.widget, panel


def follow_session(panel: Panel, result: Segmentation, edits: Edits) -> Panel | None:
    """Bring a session's panel up to date after an edit; None where somebody has closed it."""
    if not panel.is_open:
        return None
    try:
        panel.update(panel.shown.with_labels(result.labels, result.names, session_table(result.case, edits)))
    except Exception as error:
        # The edit is made and must be answered, whatever becomes of the browser.
        _log.warning("%s: the widget does not show the last edit (%s); call show() again", result.case, error)
        return None
    return panel


def mimebundle(show: Callable[[], Any]) -> dict[str, Any]:
    """A widget as IPython's ``_repr_mimebundle_`` gives it, or nothing, and then the HTML alone is shown.

    A notebook that is saved keeps the HTML beside the widget.

    Args:
        show: makes the widget.
    """
    # At a terminal nobody would see it.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None or _make() is None:
        return {}
    with suppress(UsageError):  # no scan was kept: the table alone is shown
        return dict(show()._repr_mimebundle_())
    return {}


def _make() -> Callable[[Shown, str], Panel] | None:
    """What makes a panel of the best kind that is installed; None where none is."""
    widgets = ipywidgets()
    if widgets is None:
        return None
    library = ipyniivue()
    if library is None:
        return lambda shown, window: SliderPanel(widgets, shown, window)
    return lambda shown, window: NiiVuePanel(library, widgets, shown, window)


def _panel_of(
    result: Localization | Segmentation, shown: Callable[[], Shown], window: str, image: Image | None
) -> Panel:
    """The panel of a result: the one that shows it already, or a new one."""
    panel = _panels.get(result) if image is None else None
    if panel is not None and panel.is_open:
        panel.set_window(window)
        return panel
    make = _make()
    assert make is not None
    window_of(window)  # a wrong name is told before a large scan is turned
    panel = make(shown(), window)
    if image is None:
        _panels[result] = panel
    return panel


R = TypeVar("R", Localization, Segmentation)


def _with_scan(result: R, image: Image | None, window: str) -> R:
    """The result with the scan to draw on; refuses what a widget would refuse."""
    window_of(window)
    if image is None and result.image is None:
        raise UsageError(f"{result.case}: the result keeps no scan to show; give the scan as `image`")
    return result if image is None else replace(result, image=image)
