"""The published zip of a source: fetched once, checked, and remembered by its sum where nobody publishes one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medlsam.data.source import DataSource
from medlsam.errors import DatasetError, DownloadError
from medlsam.io.label_names import read_json
from medlsam.runtime.atomic_files import write_json
from medlsam.runtime.download import digest_of, fetch, mirrored
from medlsam.runtime.http_transfer import OnBytes

SUMS = "sums.json"


def fetch_archive(
    source: DataSource, folder: Path, mirror: str | None = None, on_progress: OnBytes | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Fetch the zip of a source, unless it is there, and check its sum.

    ``sums.json`` in the folder keeps the sum of each file. Where the publisher gives none, the sha256 of the first
    download is kept there, and a later file has to have the same.

    Args:
        source: one with an ``archive``.
        folder: where it is put.
        mirror: see ``medlsam.runtime.download.mirrored``.
        on_progress: called as bytes arrive.

    Returns:
        The zip, and warnings.

    Raises:
        DownloadError: see ``fetch``; or a file that is there has another sum (it is not touched).
    """
    if source.archive is None:
        raise DatasetError(f"{source.name}: it has no zip that may be fetched by itself")
    target, sums = folder / source.archive_file, folder / SUMS
    known: dict[str, Any] = read_json(sums, DatasetError) if sums.is_file() else {}
    entry = known.get(source.archive_file, {})
    digest = source.archive.digest or entry.get("digest")
    remote = replace(mirrored(source.archive, source.archive_file, mirror), digest=digest)
    there = target.is_file()
    fetch(remote, target, on_progress)
    if digest is not None and entry == _stamp(target, digest):
        return target, ()  # checked before, and not written since
    if digest is not None and there and (found := digest_of(target, digest.partition(":")[0])) != digest:
        raise DownloadError(
            f"{target} is damaged or is not {source.title}: it has {found}, {digest} is recorded; move it away and it "
            "is fetched again"
        )
    warnings: tuple[str, ...] = ()
    if digest is None:
        digest = digest_of(target)
        warnings = (
            f"nobody publishes a sum of {target.name}: that it is what it should be is not checked. Its {digest} is "
            f"kept in {sums}, and a later download has to have the same",
        )
    write_json(sums, known | {source.archive_file: _stamp(target, digest)})
    return target, warnings


def _stamp(target: Path, digest: str) -> dict[str, Any]:
    state = target.stat()
    return {"digest": digest, "bytes": state.st_size, "changed_ns": state.st_mtime_ns}
