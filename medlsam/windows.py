"""Named windows of HU: which values are shown from black to white. One table, for all who need one.

Radiology has no standard of them; each entry says where its values come from.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from medlsam.errors import UsageError


@dataclass(frozen=True)
class Window:
    """A window of HU; values outside are shown black or white.

    Attributes:
        name: what it is made for.
        level: its middle, HU.
        width: its width, HU.
    """

    name: str
    level: float
    width: float

    @property
    def low(self) -> float:
        """Its lowest HU."""
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        """Its highest HU."""
        return self.level + self.width / 2


_WINDOWS = (
    # The HCUCH data set: its radiologists drew in these, and its models see them (mediastinum: from its code only).
    Window("lung", -500.0, 1400.0),
    Window("abdomen", 40.0, 350.0),
    Window("mediastinum", 50.0, 350.0),
    # Usual in viewers: SAM is shown bone so, and soft tissue (also in our pictures).
    Window("bone", 400.0, 1800.0),
    Window("soft-tissue", 40.0, 400.0),
    # Narrow, as viewers have it: lesions differ little from the liver around them.
    Window("liver", 60.0, 160.0),
    # SAM is shown lungs so (record 0063); and the publishers of MedSAM showed it lungs so.
    Window("lung-wide", -600.0, 1500.0),
    Window("lung-medsam", -160.0, 1500.0),
)

#: Every named window.
WINDOWS: Mapping[str, Window] = MappingProxyType({window.name: window for window in _WINDOWS})

#: What HCUCH's code means by the names in ``windows_mapping.json``: its bone is narrower than ours.
HCUCH_WINDOWS: Mapping[str, Window] = MappingProxyType(
    {name: WINDOWS[name] for name in ("lung", "abdomen", "mediastinum")}
    | {
        "bone": Window("bone", 400.0, 1000.0),
        "air": Window("air", -426.0, 1000.0),
        "brain": Window("brain", 50.0, 100.0),
    }
)


def window_of(name: str) -> Window:
    """Look a window up.

    Raises:
        UsageError: no such name; the message lists the known ones.
    """
    if name in WINDOWS:
        return WINDOWS[name]
    close = difflib.get_close_matches(name.casefold(), WINDOWS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise UsageError(f"no window of HU is called {name!r}{hint}; there are: {', '.join(WINDOWS)}")
