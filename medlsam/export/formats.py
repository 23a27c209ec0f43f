"""The formats that a scan's results are written in: one table, from a name to the function that writes it.

``check_outputs`` refuses a call that cannot succeed before anything is written, ``open_series`` one scan's before any
network runs, ``write_outputs`` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medlsam.errors import UsageError, VolumeError
from medlsam.export.anatomy import colour_of
from medlsam.export.per_structure import FOLDER, write_structures
from medlsam.export.slicer_markups import MARKUPS_FILES, write_markups
from medlsam.io.write import WRITABLE, write_volume
from medlsam.output_options import OutputOptions
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.export.dicom.series import SourceSeries


@dataclass(frozen=True)
class Format:
    """How results are written in one format.

    Attributes:
        files: what it may write into a scan's folder.
        write: writes them: the result, the folder, and the source series where it needs one. Whether there was
            anything to write.
        needs_series: whether it refers to the DICOM series that the scan was read from.
    """

    files: tuple[str, ...]
    write: Callable[[Segmentation, Path, SourceSeries | None], bool]
    needs_series: bool = False


def _nifti(found: Segmentation, folder: Path, series: SourceSeries | None) -> bool:
    colours = {value: colour_of(name) for value, name in found.names.items()}
    write_volume(found.labels, folder / "segmentation.nii.gz", names=found.names, colours=colours)
    return True


def _dicom_seg(found: Segmentation, folder: Path, series: SourceSeries | None) -> bool:
    from medlsam.export.dicom.segmentation import write_segmentation_object

    assert series is not None
    return write_segmentation_object(found, folder / "segmentation.dcm", series)


def _rtstruct(found: Segmentation, folder: Path, series: SourceSeries | None) -> bool:
    from medlsam.export.dicom.structure_set import write_structure_set

    assert series is not None
    return write_structure_set(found, folder / "rtstruct.dcm", series)


def _slicer(found: Segmentation, folder: Path, series: SourceSeries | None) -> bool:
    from medlsam.export.slicer_segmentation import write_slicer_segmentation

    write_slicer_segmentation(found, folder / "segmentation.seg.nrrd")
    write_markups(found.localization, folder)
    return True


FORMATS = {
    "nifti": Format(("segmentation.nii.gz",), _nifti),
    "dicom-seg": Format(("segmentation.dcm",), _dicom_seg, needs_series=True),
    "rtstruct": Format(("rtstruct.dcm",), _rtstruct, needs_series=True),
    "slicer": Format(("segmentation.seg.nrrd", *MARKUPS_FILES), _slicer),
}
#: Every file that some format writes into a scan's folder, and the folder of ``per_structure``.
OUTPUT_FILES = tuple(name for kind in FORMATS.values() for name in kind.files)
OUTPUT_FOLDER = FOLDER


def check_outputs(options: OutputOptions, scans: Iterable[Path]) -> None:
    """Refuse a call that no scan can satisfy.

    Args:
        options: what to write.
        scans: the scans' paths.

    Raises:
        UsageError: DICOM outputs of scans none of which is DICOM, without a reference series; a reference series that
            does not exist or that no format needs.
    """
    asked = _series_formats(options)
    if options.reference_series is None:
        if asked and all(path.is_file() and suffix_of(path) in WRITABLE for path in scans):
            raise UsageError(
                f"{', '.join(asked)}: the scans are no DICOM, so there is no series to refer to; name it "
                "(--reference-series DIR), or leave the format out"
            )
        return
    if not asked:
        raise UsageError(
            f"the reference series {options.reference_series} is for the formats "
            f"{' and '.join(name for name, kind in FORMATS.items() if kind.needs_series)}: ask for one (--format)"
        )
    if not Path(options.reference_series).is_dir():
        raise UsageError(f"{options.reference_series}: no such folder; give that of the DICOM series")


def reference_of(options: OutputOptions, case: str) -> Path | None:
    """The folder of a scan's reference series: the one that is called as the scan, or the one that was named."""
    if options.reference_series is None:
        return None
    named = Path(options.reference_series)
    return named / case if (named / case).is_dir() else named


def open_series(image: Image, options: OutputOptions, case: str) -> SourceSeries | None:
    """The series that the outputs of a scan refer to; None where no format needs one. Warnings are logged.

    Args:
        image: the scan as read.
        options: what to write.
        case: its name, by which a series below the reference folder is called.

    Raises:
        VolumeError: the scan is no DICOM and there is no reference series, or the series cannot be referred to.
        GeometryError: the reference series does not have the scan's voxels.
    """
    asked = _series_formats(options)
    if not asked:
        return None
    from medlsam.export.dicom.reference import find_reference
    from medlsam.export.dicom.series import read_series_headers

    source = image.source
    named = str(image.path or case)
    if source.files:
        series = read_series_headers(source.files, source.path or source.files[0].parent, source.frames)
    elif (reference := reference_of(options, case)) is not None:
        series = find_reference(reference, image.grid, named)
    else:
        why = "was read from a zip, whose files are gone" if source.series_uid else "is no DICOM"
        raise VolumeError(
            f"{named}: {', '.join(asked)} refer to a DICOM series, and this scan {why}; name its series "
            "(--reference-series DIR), or leave the format out"
        )
    series.warn()
    return series


def write_outputs(
    segmentation: Segmentation, folder: Path, options: OutputOptions, series: SourceSeries | None
) -> list[str]:
    """Write a scan's results in every format asked for; parent folders are made.

    Args:
        segmentation: of the scan.
        folder: the scan's.
        options: what to write.
        series: from ``open_series``.

    Returns:
        Warnings: what was not written, since the scan holds nothing of it.
    """
    warnings = []
    for name in options.format:
        if not FORMATS[name].write(segmentation, folder, series):
            warnings.append(
                f"{name}: no structure was found, and a DICOM object without one cannot be written"
            )
    if options.per_structure:
        write_structures(segmentation, folder)
    return warnings


def _series_formats(options: OutputOptions) -> list[str]:
    return [name for name in options.format if FORMATS[name].needs_series]
