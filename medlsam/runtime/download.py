"""Fetch one file: resumed where it broke off, tried again, checked, and there only when it is whole.

What has come of a file lies beside its target as ``<name>.part`` until it is complete, so that a second call goes on
where the first one ended. Proxies and certificates are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``,
``REQUESTS_CA_BUNDLE``); ``MEDLSAM_MIRROR`` names a place with the same files; ``MEDLSAM_OFFLINE=1`` forbids it all.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from medlsam.errors import DownloadError, UsageError
from medlsam.runtime.http_transfer import OnBytes, Remote, receive

_OFF = ("", "0", "false", "no", "off")


def is_offline() -> bool:
    """Tell whether ``MEDLSAM_OFFLINE`` forbids downloads."""
    return os.environ.get("MEDLSAM_OFFLINE", "").strip().lower() not in _OFF


def mirrored(remote: Remote, file: str, mirror: str | None = None) -> Remote:
    """The same file at a mirror, which has it under its plain name; the sum stays the publisher's.

    Args:
        remote: as published.
        file: its name at the mirror.
        mirror: address of the folder there; None: that of ``MEDLSAM_MIRROR``, if that is set.

    Raises:
        UsageError: the mirror is no http or https address.
    """
    place = (os.environ.get("MEDLSAM_MIRROR", "") if mirror is None else mirror).strip()
    if not place:
        return remote
    if urlsplit(place).scheme not in ("http", "https") or not urlsplit(place).netloc:
        origin = "MEDLSAM_MIRROR" if mirror is None else "--mirror"
        raise UsageError(f"{origin} is {place!r}; give the address of a folder, such as https://host/path")
    return Remote(f"{place.rstrip('/')}/{quote(file)}", remote.digest, remote.size)


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """The sum of a file as ``<algorithm>:<hex>``.

    Raises:
        DownloadError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            # md5 only says that a file came whole from where its publisher wrote the md5, not who made it.
            found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except OSError as error:
        raise DownloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    return f"{algorithm}:{found.hexdigest()}"


def fetch(remote: Remote, target: Path, on_progress: OnBytes | None = None) -> Path:
    """Fetch a file, unless it is there.

    The file appears under its name only once it is complete and its sum is right. Broken connections are resumed and
    tried again with growing pauses. Two processes that want one file fetch it once.

    Args:
        remote: what to fetch.
        target: the file to write; its folder is made.
        on_progress: called as bytes arrive.

    Raises:
        DownloadError: ``MEDLSAM_OFFLINE``; the server does not give the file; the connection broke too often (what
            came stays as ``<name>.part``, and the next call goes on with it); the sum is another one (nothing is kept);
            the disk is full or the folder cannot be written.
    """
    if target.is_file():
        return target
    if is_offline():
        raise DownloadError(f"MEDLSAM_OFFLINE is set, so {remote.url} is not downloaded to {target}")
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            # Another process may have brought it while this one waited.
            if not target.is_file():
                _fetch_whole(remote, target, on_progress)
        return target
    except OSError as error:
        raise DownloadError(_in_words(error, target)) from error
    finally:
        # Not after a failure: whoever waits for the lock would hold one that the next comer does not see.
        if target.is_file():
            with suppress(OSError):
                target.with_name(f".{target.name}.lock").unlink(missing_ok=True)


def _fetch_whole(remote: Remote, target: Path, on_progress: OnBytes | None) -> None:
    part = target.with_name(f"{target.name}.part")
    if remote.digest is None:
        # Without a sum nobody would notice that the file has changed between two calls.
        part.unlink(missing_ok=True)
    resumed = part.exists() and part.stat().st_size > 0
    receive(remote, part, on_progress)
    wrong = _difference(remote, part)
    if wrong and resumed:
        # The older part may be of another file: once more, from the start.
        part.unlink()
        receive(remote, part, on_progress)
        wrong = _difference(remote, part)
    if wrong:
        part.unlink()
        raise DownloadError(
            f"{remote.url}: {wrong}; nothing was kept. Perhaps a proxy or a mirror sent something else: try "
            f"another network, or fetch it in another way and put it at {target}"
        )
    os.replace(part, target)


def _difference(remote: Remote, part: Path) -> str | None:
    """What is wrong with a complete file, in words."""
    if remote.digest is None:
        return None
    found = digest_of(part, remote.digest.partition(":")[0])
    if found == remote.digest:
        return None
    with part.open("rb") as stream:
        page = stream.read(512).lstrip()[:1] == b"<"
    what = " (it looks like a web page)" if page else ""
    return f"what came{what} has {part.stat().st_size} bytes and {found}, {remote.digest} is recorded"


def _in_words(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{target}: the disk is full ({error.strerror}); what came is kept as {target.name}.part: make room and "
            "run it again, or choose another place (weights: MEDLSAM_HOME)"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"{target}: the folder cannot be written ({error.strerror}); choose another place "
            "(weights: MEDLSAM_HOME)"
        )
    return f"{target}: cannot be written ({error})"
