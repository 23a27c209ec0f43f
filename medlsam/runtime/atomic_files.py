"""Atomic writes: a temporary file beside the target, then one rename, so that no reader sees a half file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Younger leftovers may be those of a run that is at work.
_STALE_SECONDS = 7 * 86400.0


def suffix_of(path: Path) -> str:
    """The file's extension in lower case, with ``.nii.gz`` and ``.mrk.json`` as one."""
    name = path.name.lower()
    for double in (".nii.gz", ".mrk.json"):
        if name.endswith(double):
            return double
    return path.suffix.lower()


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``target``; on a clean exit it becomes ``target``, on an error it goes.

    The temporary file keeps the extension, since writers choose the format by it. Parent folders are made.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-", suffix=suffix_of(target))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; results get the usual permissions.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale(folder: Path, *patterns: str) -> None:
    """Remove files and folders of these patterns (``glob``) that nobody can be writing any more: a week old.

    Raises:
        OSError: a file cannot be removed.
    """
    old = time.time() - _STALE_SECONDS
    for left in (left for pattern in patterns for left in folder.glob(pattern)):
        if left.stat().st_mtime >= old:
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write text atomically as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, since other languages cannot read them.

    Raises:
        ValueError: the data hold NaN or infinity.
    """
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _umask() -> int:
    # The umask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
