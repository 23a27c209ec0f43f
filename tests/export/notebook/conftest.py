"""Notebooks with and without the libraries of widgets."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.support.fakes.widgets import fake_ipyniivue, fake_ipywidgets

Install = Callable[[bool, bool], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Say which libraries there are (fakes of them): ipywidgets, ipyniivue."""

    def choose(widgets: bool, niivue: bool) -> None:
        # None in sys.modules is how Python says that there is no such module.
        monkeypatch.setitem(sys.modules, "ipywidgets", fake_ipywidgets() if widgets else None)
        monkeypatch.setitem(sys.modules, "ipyniivue", fake_ipyniivue() if niivue else None)

    return choose
