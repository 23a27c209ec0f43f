"""Look weights up by name, and check whether a file is what it should be. No torch, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.download import is_offline
from medlsam.weights.entries import ENTRIES, Kind, WeightsEntry

State = Literal["ok", "absent", "damaged", "unverified"]


def names(kind: Kind | None = None) -> list[str]:
    """List the known names, of one kind or of all."""
    return [e.name for e in ENTRIES.values() if kind in (None, e.kind)]


def entry(name: str) -> WeightsEntry:
    """Look up the entry of a name.

    Raises:
        WeightsError: no such name; the message lists the known ones.
    """
    if name not in ENTRIES:
        raise WeightsError(f"no weights are called {name!r}; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def find(name: str) -> WeightsEntry | None:
    """The entry of a name, or None."""
    return ENTRIES.get(name)


def state(item: WeightsEntry) -> State:
    """Check a file: ``ok``, ``absent``, ``damaged`` (another sha256) or ``unverified`` (no sha256 is known)."""
    if not item.path.is_file():
        return "absent"
    if item.sha256 is None:
        return "unverified"
    return "ok" if sha256_of(item.path) == item.sha256 else "damaged"


def verify(item: WeightsEntry) -> Path:
    """Return the path of a file after checking its sha256 (where one is recorded).

    A file with another sum is left where it is.

    Raises:
        WeightsError: absent or damaged; the message says which file, both sums, and what to do.
    """
    found = state(item)
    if found == "absent":
        raise WeightsError(f"{item.name}: {item.path} does not exist; {how_to_get(item)}")
    if found == "damaged":
        raise WeightsError(
            f"{item.path} is damaged or is not {item.name}: its sha256 is {sha256_of(item.path)}, "
            f"{item.sha256} is recorded; {_how_to_mend(item)}"
        )
    return item.path


def identify(path: str | Path) -> WeightsEntry | None:
    """Find the entry with the sha256 of a file; None for an unknown file."""
    digest = sha256_of(path)
    return next((e for e in ENTRIES.values() if e.sha256 == digest), None)


def how_to_get(item: WeightsEntry) -> str:
    """What to do about a file that is not here, in one line."""
    if item.shipped:
        return "it ships with medlsam, so the installation is incomplete: install the package again"
    place = f"put the file at {item.path}"
    place += f", or give it as {item.given_as}" if item.given_as else ", or give its path instead of the name"
    if item.url is None:
        return f"it is not downloaded by itself: get it from {item.source}; then {place}"
    if is_offline():
        return (
            f"MEDLSAM_OFFLINE is set, so it is not downloaded: fetch {item.url} elsewhere "
            f"(sha256 {item.known_sha256}) and {place}"
        )
    return f"run `medlsam weights download {item.name}`"


def _how_to_mend(item: WeightsEntry) -> str:
    if item.shipped:
        return "install the package again (after a new training in a checkout: `python -m medlsam.weights`)"
    return "move it away and it is downloaded again, or give your own file by its path"
