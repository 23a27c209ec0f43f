"""The end of a build: leave out scans that the pool holds twice, and write its manifest.

All scans are looked at together, in an order that depends neither on which of them was ready first nor on how often the
build was interrupted. Scans that an earlier build has published stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from medlsam.pool.manifest import (
    LEFT_OUT,
    MANIFEST,
    LeftOut,
    Reason,
    Row,
    read_left_out,
    read_rows,
    write_lines,
    write_pool_file,
)
from medlsam.pool.record import RECORDS, Record, read_record, write_record

#: Series of one study that share that much of the shorter one's height show the same.
_SAME_HEIGHT = 0.8


def deduplicate(
    folder: Path, spacing_mm: float, left_out: Iterable[LeftOut], roots: Iterable[str], keep_doubles: bool
) -> tuple[list[Row], list[LeftOut]]:
    """Leave out duplicates and doubles, remove their shards, and write the manifest.

    Args:
        folder: of the pool.
        spacing_mm: of the pool.
        left_out: what this call left out without a record.
        roots: names of the folders of this call.
        keep_doubles: keep further series of the same place of a study.

    Returns:
        The rows of the pool by name, and all that was left out.
    """
    published = read_rows(folder)
    paths = sorted((folder / RECORDS).glob("*.json"))
    records = {path: record for path in paths if (record := read_record(path)) is not None}
    ready = [(path, record.row) for path, record in records.items() if record.row and not record.dropped]
    kept = list(published)
    for path, row in sorted(ready, key=lambda entry: _order(entry[1])):
        if row in kept:
            continue
        dropped = _duplicate(row, kept)
        if dropped is None:
            kept.append(row)
        else:
            records[path] = replace(records[path], dropped=dropped)
    if not keep_doubles:
        dropped_by_row = _doubles(kept, published)
        kept = [row for row in kept if row not in dropped_by_row]
        for path, row in ready:
            if row in dropped_by_row:
                records[path] = replace(records[path], dropped=dropped_by_row[row])
    _drop(folder, [(path, records[path]) for path, _ in ready if records[path].dropped], kept)
    rows = sorted(kept, key=lambda row: row.name)
    everything = _all_left_out(folder, records.values(), left_out, set(roots))
    write_lines(folder / LEFT_OUT, (asdict(entry) for entry in everything))
    write_lines(folder / MANIFEST, (asdict(row) for row in rows))
    write_pool_file(folder, spacing_mm, rows)
    return rows, everything


def _order(row: Row) -> tuple[int, str, str]:
    """More slices first: of doubles, the finest is kept."""
    return -row.source_shape_zyx[0], row.source, row.name


def _duplicate(row: Row, kept: list[Row]) -> LeftOut | None:
    for other in kept:
        if other.pixels_sha256 == row.pixels_sha256:
            return LeftOut(row.source, Reason.DUPLICATE, f"the same voxels as {other.source}")
    return None


def _doubles(kept: list[Row], published: list[Row]) -> dict[Row, LeftOut]:
    stay: dict[str, list[Row]] = {}
    dropped: dict[Row, LeftOut] = {}
    # Published ones are first in ``kept``, the others follow in order.
    for row in kept:
        if not row.study:
            continue
        others = stay.setdefault(row.study, [])
        double = next((other for other in others if _share_of_height(row, other) >= _SAME_HEIGHT), None)
        if double is None or row in published:
            others.append(row)
        else:
            words = f"{row.source_shape_zyx[0]} slices of the place of {double.source}"
            dropped[row] = LeftOut(row.source, Reason.DOUBLE, words)
    return dropped


def _share_of_height(one: Row, other: Row) -> float:
    (low, high), (bottom, top) = (
        (row.origin_xyz[2], row.origin_xyz[2] + row.shape_zyx[0] * row.spacing_mm) for row in (one, other)
    )
    return (min(high, top) - max(low, bottom)) / min(high - low, top - bottom)


def _drop(folder: Path, dropped: list[tuple[Path, Record]], kept: list[Row]) -> None:
    held = {row.shard for row in kept}
    for path, record in dropped:
        # The record first: a shard without one is made again, one that is gone with its record is not.
        write_record(path, record)
        if record.row is not None and record.row.shard not in held:
            (folder / record.row.shard).unlink(missing_ok=True)


def _all_left_out(
    folder: Path, records: Iterable[Record], now: Iterable[LeftOut], roots: set[str]
) -> list[LeftOut]:
    """What this call left out, what records tell, and what earlier calls of other folders left out by header."""
    earlier = {entry for entry in read_left_out(folder) if entry.source.split("/")[0] not in roots}
    recorded = {entry for record in records for entry in (record.left_out, record.dropped) if entry}
    return sorted({*earlier, *recorded, *now})
