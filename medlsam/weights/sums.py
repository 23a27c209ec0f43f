"""The SHA256SUMS file beside the weights that ship: one line a file, as ``sha256sum`` writes them.

After a change of the shipped files: ``python -m medlsam.weights`` writes it anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from medlsam.errors import WeightsError

#: Where the weights that ship lie.
SHIPPED_DIR = Path(__file__).resolve().parent
SUMS_NAME = "SHA256SUMS"

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<file>\S+)")


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file, 64 lower-case hex digits.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_sums(folder: Path = SHIPPED_DIR) -> dict[str, str]:
    """File name to sha256, as ``folder/SHA256SUMS`` records them; empty where there is no such file.

    Raises:
        WeightsError: a line is not ``<64 hex digits>  <file name>``.
    """
    path = folder / SUMS_NAME
    if not path.is_file():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise WeightsError(
                f"{path}, line {number}: expected '<sha256>  <file>', got {line!r}; "
                "run `python -m medlsam.weights` to write the file anew"
            )
        sums[match["file"]] = match["sha256"]
    return sums


def write_sums(folder: Path = SHIPPED_DIR) -> dict[str, str]:
    """Hash every ``*.safetensors`` of ``folder`` and write ``folder/SHA256SUMS`` (atomically)."""
    sums = {path.name: sha256_of(path) for path in sorted(folder.glob("*.safetensors"))}
    target = folder / SUMS_NAME
    partial = target.with_name(f".{SUMS_NAME}.{os.getpid()}")
    partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8")
    os.replace(partial, target)
    return sums
