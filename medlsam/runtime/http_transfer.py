"""Bytes of one file over http: resumed with ``Range`` where a connection broke, and tried again with growing pauses."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medlsam.errors import DownloadError

#: Called with the bytes that are here, and those that there are (None where the server does not say).
OnBytes = Callable[[int, int | None], None]

#: What arrives is written in pieces of this size; a break loses at most one.
_CHUNK = 1 << 16
#: Seconds to wait for a connection, and for the next bytes of one.
_PATIENCE = (20, 60)
#: Tries without one new byte before it is given up.
_TRIES = 5
_LONGEST_WAIT = 60.0
_REFUSALS = {
    401: "it wants a login",
    403: "access is forbidden",
    404: "there is no such file",
    407: "the proxy wants a login",
}


@dataclass(frozen=True)
class Remote:
    """A file of somebody else's server.

    Attributes:
        url: http or https.
        digest: ``sha256:<hex>`` or ``md5:<hex>`` as its publisher or others record it; None where nobody does.
        size: bytes; None where unknown.
    """

    url: str
    digest: str | None = None
    size: int | None = None

    @property
    def file(self) -> str:
        """The file's name, without what follows a question mark."""
        return Path(urlsplit(self.url).path).name


class _BrokenOffError(Exception):
    """A try failed in a way that another one may mend."""

    def __init__(self, words: str, wait: float | None = None) -> None:
        super().__init__(words)
        self.wait = wait


def receive(remote: Remote, part: Path, on_progress: OnBytes | None) -> None:
    """Bring ``part`` to its full length, with as many connections as that takes.

    Args:
        remote: what to fetch.
        part: the file that grows; what is there already is kept.
        on_progress: called as bytes arrive.

    Raises:
        DownloadError: the server does not give the file, or the connection broke too often.
        OSError: ``part`` cannot be written.
    """
    import requests

    failures, most = 0, size_of(part)
    with requests.Session() as session:
        # Bytes as they lie on the server: a compressed answer has no place to resume at.
        session.headers.update({"User-Agent": "medlsam", "Accept-Encoding": "identity"})
        validator: list[str] = []
        while True:
            try:
                _receive_once(session, remote, part, validator, on_progress)
                return
            except _BrokenOffError as broken:
                failures = 0 if size_of(part) > most else failures + 1
                most = max(most, size_of(part))
                if failures >= _TRIES:
                    raise DownloadError(
                        f"{remote.url}: {broken}; given up after {failures} tries without a new byte. "
                        f"{size_of(part)} bytes are kept in {part}: run it again and it goes on from there"
                    ) from broken
                _pause(min(_LONGEST_WAIT, 2.0**failures - 1 if broken.wait is None else broken.wait))


def _receive_once(
    session: Any, remote: Remote, part: Path, validator: list[str], on_progress: OnBytes | None
) -> None:
    """One connection: append to ``part`` what it lacks.

    Args:
        session: of ``requests``.
        remote: what to fetch.
        part: what has come before.
        validator: says which state of the file the first connection of this call saw; filled by it.
        on_progress: called as bytes arrive.
    """
    from requests import exceptions as wrong

    have = size_of(part)
    if remote.digest is None and have and not validator:
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and validator:
        headers["If-Range"] = validator[0]
    try:
        with session.get(remote.url, headers=headers, stream=True, timeout=_PATIENCE) as answer:
            if answer.status_code == 416:  # nothing lies behind what is here: it is whole, or of another file
                if _told_total(answer) == have:
                    return
                part.unlink(missing_ok=True)
                raise _BrokenOffError("the server does not have so many bytes")
            _check_status(answer)
            start = have if answer.status_code == 206 and _told_start(answer) == have else 0
            if answer.status_code == 206 and start != have:
                part.unlink(missing_ok=True)
                raise _BrokenOffError("the server sent another part than the one that was asked for")
            if not validator and (tag := _strong_validator(answer)):
                validator.append(tag)
            _append(answer, part, start, _total(answer, start) or remote.size, on_progress)
    except wrong.ProxyError as error:
        raise _BrokenOffError(
            f"the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) fails: {error}"
        ) from error
    except wrong.SSLError as error:
        raise DownloadError(
            f"{remote.url}: its certificate is not trusted ({error}); where a proxy signs its own, name the file "
            "of certificates in REQUESTS_CA_BUNDLE"
        ) from error
    except (
        wrong.ConnectionError,
        wrong.Timeout,
        wrong.ChunkedEncodingError,
        wrong.ContentDecodingError,
    ) as error:
        raise _BrokenOffError(f"the connection failed: {error}") from error
    except wrong.RequestException as error:  # no address, too many redirects: the next try would do the same
        raise DownloadError(f"{remote.url}: cannot be fetched: {error}") from error


def _append(answer: Any, part: Path, start: int, total: int | None, on_progress: OnBytes | None) -> None:
    if total is not None and (free := shutil.disk_usage(part.parent).free) < total - start:
        raise OSError(errno.ENOSPC, f"{total - start} bytes to come, {free} free")
    at = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in answer.iter_content(_CHUNK):
            stream.write(chunk)
            at += len(chunk)
            if on_progress is not None:
                on_progress(at, total)
    if total is not None and at < total:
        raise _BrokenOffError(f"the connection ended after {at} of {total} bytes")


def _check_status(answer: Any) -> None:
    code = answer.status_code
    if code in (200, 206):
        return
    words = f"{code} {answer.reason}"
    if code in (408, 429) or code >= 500:
        told = str(answer.headers.get("Retry-After", ""))
        raise _BrokenOffError(f"the server answers {words}", float(told) if told.isdecimal() else None)
    raise DownloadError(f"{answer.url}: {words}" + (f" ({_REFUSALS[code]})" if code in _REFUSALS else ""))


def _strong_validator(answer: Any) -> str | None:
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag.startswith('"') else None


def _told_start(answer: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", str(answer.headers.get("Content-Range", "")))
    return int(found[1]) if found else None


def _told_total(answer: Any) -> int | None:
    found = re.search(r"/(\d+)$", str(answer.headers.get("Content-Range", "")))
    return int(found[1]) if found else None


def _total(answer: Any, start: int) -> int | None:
    length = str(answer.headers.get("Content-Length", ""))
    return _told_total(answer) or (start + int(length) if length.isdecimal() else None)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
