"""How a session shows itself in a notebook, and how what is shown follows its edits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from threading import RLock
from typing import Any

from medlsam.pipeline.session.values import StructureState
from medlsam.results import Segmentation


class InNotebook(ABC):
    """What a session shows: its masks as they stand."""

    _lock: RLock
    _panel: Any = None

    @property
    @abstractmethod
    def structures(self) -> Mapping[str, StructureState]:
        """How each structure stands."""

    @abstractmethod
    def result(self) -> Segmentation:
        """The segmentation as it stands."""

    def show(self, window: str = "soft-tissue") -> Any:
        """Show the masks over the scan; the widget follows every edit that is made after.

        See ``Segmentation.show`` for what is shown with which extra. Pictures do not follow. Calling it again shows the
        same widget.

        Args:
            window: of HU, by its name in ``medlsam.windows``.

        Returns:
            What the notebook displays: a widget, or an object with HTML.

        Raises:
            UsageError: no such window.
        """
        from medlsam.export.notebook import show_session

        with self._lock:
            shown, self._panel = show_session(self.result(), self._said(), window, self._panel)
        return shown

    def _follow(self) -> None:
        """Bring the widget up to date, where there is one."""
        if self._panel is not None:
            from medlsam.export.notebook import follow_session

            self._panel = follow_session(self._panel, self.result(), self._said())

    def _repr_html_(self) -> str:
        from medlsam.export.notebook import session_html

        with self._lock:
            return session_html(self.result(), self._said())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from medlsam.export.notebook import mimebundle

        return mimebundle(self.show)

    def _said(self) -> dict[str, tuple[int, int, str, float]]:
        return {name: own.said for name, own in self.structures.items()}
