"""Ctrl-C at the worst moment: something was made, and the next line has not begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def after_making(monkeypatch: pytest.MonkeyPatch, method: str, begins: str, ends: str = "") -> None:
    """Let ``Path.<method>`` raise ``KeyboardInterrupt`` after its work, for names that begin and end like this."""
    usual = getattr(Path, method)

    def interrupted(path: Path, *args: Any, **more: Any) -> None:
        usual(path, *args, **more)
        if path.name.startswith(begins) and path.name.endswith(ends):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, method, interrupted)
