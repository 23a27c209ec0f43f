"""Atomic writes (a temporary file beside the target, then one rename) and sha256 sums of files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medlsam.errors import WeightsError

# Younger leftovers may be those of a run that is still writing.
_STALE_SECONDS = 7 * 86400.0
_SUMS = "SHA256SUMS"
_SUMS_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<file>\S+)")


def suffix_of(path: Path) -> str:
    """Return the file's extension in lower case; ``.nii.gz`` and ``.mrk.json`` count as one."""
    name = path.name.lower()
    for double in (".nii.gz", ".mrk.json"):
        if name.endswith(double):
            return double
    return path.suffix.lower()


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``: a clean exit renames it to ``target``, an error removes it.

    The temporary file keeps the extension, since writers choose the format by it. Parent folders are created.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".tmp-{uuid.uuid4().hex}{suffix_of(target)}"
    # The name is known before the file is made: Ctrl-C may come at any line, and nothing may stay then.
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale(folder: Path, *patterns: str, seconds: float = _STALE_SECONDS) -> None:
    """Remove files and folders that match these patterns (``glob``) and are a week old, so abandoned.

    Args:
        folder: where they are.
        *patterns: of their names.
        seconds: how old they must be; 0 where nobody else can be using them.

    Raises:
        OSError: a file cannot be removed.
    """
    old = time.time() - seconds
    for left in (left for pattern in patterns for left in folder.glob(pattern)):
        if seconds and left.stat().st_mtime >= old:
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write text atomically as UTF-8; what is no text in a file's name becomes an escape that JSON knows."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path | str, data: Any) -> None:
    """Write JSON atomically, without NaN and infinity, which other languages cannot read.

    Raises:
        ValueError: the data contain NaN or infinity.
    """
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: str | Path) -> str:
    """Compute the sha256 of a file, as 64 lower-case hex digits.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_sums(folder: Path) -> dict[str, str]:
    """Read ``folder/SHA256SUMS``, written as ``sha256sum`` does: file name to sha256; empty without that file.

    Raises:
        WeightsError: a line is not ``<64 hex digits>  <file name>``.
    """
    path = folder / _SUMS
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _SUMS_LINE.fullmatch(line)
        if match is None:
            raise WeightsError(
                f"{path}, line {number}: expected '<sha256>  <file>', got {line!r}; "
                "run `python -m medlsam.weights` to write the file anew"
            )
        sums[match["file"]] = match["sha256"]
    return sums


def write_sums(folder: Path) -> dict[str, str]:
    """Hash every ``*.safetensors`` of ``folder`` and write ``folder/SHA256SUMS`` atomically."""
    sums = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
    write_text(folder / _SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums
