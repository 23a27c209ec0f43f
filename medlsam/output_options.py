"""Which files ``segment`` writes for each scan besides the label map and the localization."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.option_fields import Checked, choice, mistyped, option, switch

#: ``medlsam.export.formats`` holds what each of them writes.
FORMATS = ("nifti", "dicom-seg", "rtstruct", "slicer")


def _check_format(name: str, value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Iterable):
        raise mistyped(name, value, "a list of formats")
    given = [part.strip() if isinstance(part, str) else part for part in parts]
    wanted = {choice(name, part, FORMATS) for part in given if part != ""}
    if not wanted:
        raise UsageError(f"{name}: the list is empty; it holds some of {', '.join(FORMATS)}")
    # The label map is always written, and the order changes nothing: one list for the same files.
    return tuple(known for known in FORMATS if known in wanted or known == "nifti")


def _check_series(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value):
        raise mistyped(name, value, "a folder")
    # Absolute: the processes that write may work in other folders.
    return str(Path(value).expanduser().absolute())


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Checked):
    """Which files are written for each scan.

    Raises:
        UsageError: a value has the wrong type or is unknown.
    """

    step = "write"

    format: tuple[str, ...] = option(
        ("nifti",),
        "Files for each scan, comma-separated; the NIfTI label map is always written.",
        _check_format,
        metavar=",".join(FORMATS),
    )
    per_structure: bool = switch(False, "Also write one mask for each structure that was found.")
    reference_series: str | None = option(
        None,
        "For dicom-seg and rtstruct of scans that are no DICOM: the series that they were made from, or a folder "
        "with a series for each scan, named as the scan.",
        _check_series,
        metavar="DIR",
    )
