"""Finding the weights that medlsam knows by name: shipped, downloaded with a sha256, or brought by the user.

``MEDLSAM_OFFLINE=1`` forbids downloads. Nothing here imports torch: ``medlsam weights list`` is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from medlsam.errors import WeightsError
from medlsam.weights.entries import ENTRIES as ENTRIES
from medlsam.weights.entries import Kind as Kind
from medlsam.weights.entries import WeightsEntry as WeightsEntry
from medlsam.weights.entries import cache_dir as cache_dir
from medlsam.weights.sums import sha256_of as sha256_of

State = Literal["ok", "absent", "damaged", "unverified"]

_OFF = ("", "0", "false", "no", "off")


def names(kind: Kind | None = None) -> list[str]:
    """The known names, of one kind or of all."""
    return [e.name for e in ENTRIES.values() if kind in (None, e.kind)]


def entry(name: str) -> WeightsEntry:
    """The entry of a name.

    Raises:
        WeightsError: no such name; the message lists those there are.
    """
    if name not in ENTRIES:
        raise WeightsError(f"no weights are called {name!r}; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def is_offline() -> bool:
    """Whether ``MEDLSAM_OFFLINE`` forbids downloads."""
    return os.environ.get("MEDLSAM_OFFLINE", "").strip().lower() not in _OFF


def state(item: WeightsEntry) -> State:
    """``ok``, ``absent``, ``damaged`` (another sha256) or ``unverified`` (there, but no sha256 is known)."""
    if not item.path.is_file():
        return "absent"
    if item.sha256 is None:
        return "unverified"
    return "ok" if sha256_of(item.path) == item.sha256 else "damaged"


def verify(item: WeightsEntry) -> Path:
    """The path of a file that is there and whose sha256 is the recorded one (where one is recorded).

    A file that does not fit is left where it is.

    Raises:
        WeightsError: absent or damaged; the message says which file, both sums, and what to do.
    """
    found = state(item)
    if found == "absent":
        raise WeightsError(f"{item.name}: {item.path} does not exist; {_how_to_get(item)}")
    if found == "damaged":
        raise WeightsError(
            f"{item.path} is damaged or is not {item.name}: its sha256 is {sha256_of(item.path)}, "
            f"{item.sha256} is recorded; {_how_to_mend(item)}"
        )
    return item.path


def identify(path: str | Path) -> WeightsEntry | None:
    """The entry whose sha256 a file has, or None."""
    digest = sha256_of(path)
    return next((e for e in ENTRIES.values() if e.sha256 == digest), None)


def resolve(name_or_path: str | Path, kind: Kind) -> Path:
    """The file of a name, downloaded where that is needed, or a path that exists.

    A known name goes before a file of the same name; write ``./NAME`` for the file.

    Args:
        name_or_path: a name of the registry, or a path.
        kind: what is wanted.

    Raises:
        WeightsError: the name is of the other kind; no such name or file; damaged; no download possible.
    """
    known = ENTRIES.get(str(name_or_path))
    if known is None:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        what = "is a folder" if path.is_dir() else "is neither a file nor a name that is known"
        raise WeightsError(f"{name_or_path!s} {what}; the {kind}s are: {', '.join(names(kind))}")
    if known.kind != kind:
        raise WeightsError(
            f"{known.name} is a {known.kind}, a {kind} is wanted; the {kind}s are: {', '.join(names(kind))}"
        )
    return verify(known) if known.shipped else download(known.name)


def download(name: str) -> Path:
    """The file of a name in the cache folder; fetched where it is not there yet, its sha256 checked.

    The file appears under its name only when it is complete and its sum is right.

    Raises:
        WeightsError: unknown name; there is nowhere to fetch it from; ``MEDLSAM_OFFLINE``; the connection or
            the sum failed; a file that is there already is damaged (it is not touched).
    """
    item = entry(name)
    if item.shipped or item.path.is_file():
        return verify(item)
    if item.url is None or item.known_sha256 is None or is_offline():
        raise WeightsError(f"{item.name}: {item.path} does not exist; {_how_to_get(item)}")
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=60)
    try:
        found = pooch.retrieve(
            item.url,
            known_hash=f"sha256:{item.known_sha256}",
            fname=item.file,
            path=item.path.parent,
            downloader=downloader,
        )
    except (
        OSError,
        ValueError,
    ) as error:  # requests' errors are OSErrors; pooch says ValueError of a wrong sum
        raise WeightsError(
            f"{item.name}: the download of {item.url} failed, nothing was kept: {error}; "
            f"try again, or fetch it in another way and put it at {item.path}"
        ) from error
    return Path(found)


def _how_to_get(item: WeightsEntry) -> str:
    if item.shipped:
        return "it ships with medlsam, so the installation is incomplete: install the package again"
    place = f"put the file at {item.path}, or give its path instead of the name"
    if item.url is None:
        return f"get it from {item.source}; then {place}"
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
