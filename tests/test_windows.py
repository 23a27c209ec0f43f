"""Named windows: the values of the papers, and one table for all who show a scan."""

from __future__ import annotations

import pytest

from medlsam.errors import UsageError
from medlsam.export.planes import SOFT_TISSUE
from medlsam.options import PromptOptions
from medlsam.windows import WINDOWS, window_of


def test_the_windows_of_the_papers() -> None:
    assert (WINDOWS["lung"].low, WINDOWS["lung"].high) == (-1200, 200)  # L -500, W 1400
    assert (WINDOWS["abdomen"].low, WINDOWS["abdomen"].high) == (-135, 215)  # L 40, W 350
    assert {"mediastinum", "bone", "liver"} <= set(WINDOWS)
    assert all(name == window.name and window.width > 0 for name, window in WINDOWS.items())


def test_pictures_and_options_take_them_from_the_table() -> None:
    assert SOFT_TISSUE == (-160, 240)
    assert PromptOptions(window="lung").window == (-1200, 200)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'Lungs' \(did you mean 'lung'\?\); there are: lung, abdomen"):
        window_of("Lungs")
