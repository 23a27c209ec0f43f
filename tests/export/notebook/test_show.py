"""Which of viewer, slider and pictures is shown, and that a session's follows its edits."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.geometry import Box
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter
from tests.export.notebook.conftest import Install
from tests.export.notebook.made import localization, segmentation
from tests.support.fakes.widgets import NiiVue
from tests.support.sessions import IN, session

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return load_segmenter("sam-tiny", "cpu")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook."""
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    )


def below(widget: Any) -> Any:
    """What stands below the table and the choice of windows."""
    return widget.children[-1]


@pytest.mark.parametrize("make", [segmentation, localization])
def test_the_best_that_is_installed(make: Any, install: Install) -> None:
    install(True, True)
    assert isinstance(below(make().show()), NiiVue)
    install(True, False)
    slider = make().show("lung")
    assert below(slider).value.startswith(b"\x89PNG")
    assert "liver" in slider.children[0].value
    install(False, False)
    page = make().show()._repr_html_()
    assert "data:image/png" in page
    assert "pip install 'medlsam[niivue]'" in page
    assert page.count("<p>") == 1
    assert "pip install" in repr(make().show())


def test_a_library_that_is_broken_is_no_missing_one(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(True, True)

    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'traitlets'", name="traitlets")

    monkeypatch.setattr("medlsam.export.notebook.panel.import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="traitlets"):
        segmentation().show()


def test_showing_again_is_the_same_widget(install: Install) -> None:
    install(True, True)
    made = segmentation()
    first = made.show()
    assert made.show("bone") is first
    assert below(first).volumes[0].cal_max == 1300
    first.close()
    assert made.show() is not first
    assert segmentation().show() is not made.show()


@pytest.mark.parametrize("installed", [(True, True), (True, False), (False, False)])
def test_what_cannot_be_shown(installed: tuple[bool, bool], install: Install) -> None:
    install(*installed)
    made = segmentation()
    for bare in (replace(made, image=None), replace(made.localization, image=None)):
        with pytest.raises(UsageError, match="made: the result keeps no scan to show"):
            bare.show()
        assert bare.show(image=made.image) is not None
    for whole in (made, made.localization):
        with pytest.raises(UsageError, match="no window of HU is called 'bones'"):
            whole.show("bones")


def test_the_last_line_of_a_cell(install: Install, kernel: None) -> None:
    install(True, True)
    assert WIDGET in segmentation()._repr_mimebundle_()
    assert WIDGET in localization()._repr_mimebundle_()
    assert segmentation()._repr_mimebundle_(include=None, exclude=None)
    # HTML stays beside it, for notebooks that are read without a kernel.
    assert "data:image/png" in segmentation()._repr_html_()
    assert replace(segmentation(), image=None)._repr_mimebundle_() == {}
    install(False, False)
    assert segmentation()._repr_mimebundle_() == {}


def test_nothing_is_made_at_a_terminal(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(True, True)
    for shell in (None, SimpleNamespace()):
        ipython = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert segmentation()._repr_mimebundle_() == {}
    monkeypatch.delitem(sys.modules, "IPython")
    assert segmentation()._repr_mimebundle_() == {}


@pytest.mark.parametrize("niivue", [True, False])
def test_a_session_is_followed(niivue: bool, install: Install, kernel: None, segmenter: Segmenter) -> None:
    install(True, niivue)
    own = session(segmenter)
    widget = own.show()
    assert own.show("bone") is widget
    assert WIDGET in own._repr_mimebundle_()

    def drawn() -> np.ndarray:
        return np.asarray(own._panel.shown.labels)

    start, table = drawn(), widget.children[0].value
    own.click("ball", IN)
    clicked = drawn()
    assert (clicked != start).any()
    assert widget.children[0].value != table
    own.move_box("new", Box((-50.0, -20.0, 110.0), (-30.0, 20.0, 150.0)))
    assert "new" in widget.children[0].value
    own.undo("ball")
    assert np.array_equal(drawn() == 1, start == 1)
    own.redo("ball")
    assert np.array_equal(drawn() == 1, clicked == 1)
    own.accept("ball")
    assert "accepted" in widget.children[0].value
    own.unaccept("ball")
    assert "accepted" not in widget.children[0].value
    own.absent("rod")
    # What is drawn is the label map that would be written.
    labels = own.labels().array
    for value, name in own.names.items():
        number = own._panel.shown.structures.index(name) + 1
        assert np.array_equal(drawn() == number, labels == value), name
    widget.close()
    own.clear_clicks("ball")
    assert own._panel is None
    assert own.show() is not widget


def test_an_edit_is_answered_whatever_the_widget_does(
    install: Install, segmenter: Segmenter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(True, True)
    own = session(segmenter)
    own.show()

    def fails(_: Any) -> None:
        raise RuntimeError("no comm")

    monkeypatch.setattr(own._panel, "update", fails)
    with caplog.at_level(logging.WARNING):
        assert own.click("ball", IN).action == "click"
    assert "made: the widget does not show the last edit (no comm)" in caplog.text


def test_pictures_of_a_session(install: Install, segmenter: Segmenter) -> None:
    install(False, False)
    own = session(segmenter)
    page = own.show()._repr_html_()
    assert "session of made" in page
    assert "pip install" in page
    assert own._panel is None
    with pytest.raises(UsageError, match="bones"):
        own.show("bones")
