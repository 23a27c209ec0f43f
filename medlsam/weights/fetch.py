"""Bring weights: a name or a path comes in, the path of a checked file goes out."""

from __future__ import annotations

import sys
from pathlib import Path

from medlsam.errors import DownloadError, WeightsError
from medlsam.runtime.download import fetch, is_offline, mirrored
from medlsam.runtime.http_transfer import OnBytes, Remote
from medlsam.weights.entries import Kind, WeightsEntry
from medlsam.weights.registry import entry, find, how_to_get, names, verify


def resolve(name_or_path: str | Path, kind: Kind) -> Path:
    """Turn a name or a path into a file that exists, downloading a named one where needed.

    A known name takes precedence over a file of the same name; write ``./NAME`` for the file.

    Args:
        name_or_path: a name of the registry, or a path.
        kind: the kind of weights wanted.

    Raises:
        WeightsError: the name is of the other kind; no such name or file; damaged; no download possible.
    """
    known = find(str(name_or_path))
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


def download(name: str, *, mirror: str | None = None, on_progress: OnBytes | None = None) -> Path:
    """Download a named file into the cache folder, unless it is there, and check its sha256.

    The file appears under its name only once it is complete and its sum is right. What came of a broken download stays
    beside it as ``<file>.part``, and the next call goes on from there.

    Args:
        name: a name of the registry.
        mirror: address of a folder with the same files, taken instead of the publisher's; None: ``MEDLSAM_MIRROR``,
            if that is set. The sha256 is checked all the same.
        on_progress: called with the bytes that are here and those that there are.

    Raises:
        WeightsError: unknown name; there is nowhere to fetch it from; ``MEDLSAM_OFFLINE``; the connection or
            the sum failed; the disk is full or cannot be written; a file that is there already is damaged (it is not
            touched).
        UsageError: the mirror is no address.
    """
    item = entry(name)
    if item.shipped or item.path.is_file():
        return verify(item)
    if item.url is None or item.known_sha256 is None or is_offline():
        raise WeightsError(f"{item.name}: {item.path} does not exist; {how_to_get(item)}")
    remote = mirrored(Remote(item.url, f"sha256:{item.known_sha256}", item.bytes), item.file, mirror)
    if on_progress is None:
        _announce(item, remote.url)
    try:
        return fetch(remote, item.path, on_progress)
    except DownloadError as error:
        raise WeightsError(f"{item.name} is not downloaded: {error}") from error


def _announce(item: WeightsEntry, url: str) -> None:
    """Say why nothing moves for minutes, to somebody who looks on."""
    if sys.stderr.isatty():
        size = "" if item.bytes is None else f" ({item.bytes / 1e6:.0f} MB)"
        print(f"downloading {item.name}{size} from {url} to {item.path}", file=sys.stderr)
