"""DeepLesion: slices around key slices as 16-bit PNG, and ``DL_info.csv`` with a box and diameters of each lesion.

``Images_png/<patient>_<study>_<series>/<slice>.png`` holds HU + 32768. The slices of a series are those near its
key slices, so it comes in runs without gaps; each run is a scan here, named after the series and its first and last
slice (as the authors' own script names their NIfTI). Columns run to the patient's left, rows to the back and slice
numbers to the feet, as that script writes them; slice *k* lies at -k times the slice distance, so runs of a series
keep their places.

Nobody drew masks: the scans come without labels, and ``lesions.csv`` has what is known of each lesion, in LPS mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.data.deeplesion_table import SPLIT_COLUMN, BadRow, KeyLesion, read_key_lesions
from medlsam.data.files import SourceFiles
from medlsam.data.source import FoundCases, LesionRow, RawCase, RawScan, Split, failing_case
from medlsam.errors import DatasetError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.volume import Image, Source

#: What stored values are more than HU.
OFFSET = 32768
_SLICE = r"(\d{6}_\d{2}_\d{2})/(\d+)\.(?i:png)"


@dataclass(frozen=True)
class Run:
    """Slices of a series without a gap.

    Attributes:
        series: ``<patient>_<study>_<series>``.
        slices: number to file, in ascending order: from the head to the feet.
        lesions: with their key slice among these.
        before: slices of the series in earlier runs.
        of: slices of the series in all.
    """

    series: str
    slices: Mapping[int, str]
    lesions: tuple[KeyLesion, ...]
    before: int
    of: int

    @property
    def split(self) -> Split:
        """The authors' own, by patient."""
        return self.lesions[0].split or "train"

    @property
    def patient(self) -> int:
        """Whose scan it is."""
        return self.lesions[0].patient

    @property
    def name(self) -> str:
        """Of the case."""
        return f"{self.series}_{min(self.slices):03d}-{max(self.slices):03d}"


def find(files: SourceFiles) -> FoundCases:
    """The runs of slices. One with a row of the table that is wrong fails by itself.

    Raises:
        DatasetError: no ``DL_info.csv``, or it lacks a column; a slice lies there twice.
    """
    found, failing, left_out = runs(files)
    cases = (RawCase(run.name, run.split, partial(_read, files, run), labelled=False) for run in found)
    return FoundCases({}, (*cases, *failing), left_out)


def runs(files: SourceFiles) -> tuple[list[Run], list[RawCase], dict[str, str]]:
    """The runs that hold a key slice, those that a wrong row spoils, and what was left out, with the reason.

    Raises:
        DatasetError: see ``find``.
    """
    lesions, bad = _info(files)
    series: dict[str, dict[int, str]] = {}
    for found in files.matching(_SLICE):
        own = series.setdefault(found[1], {})
        if int(found[2]) in own:
            raise DatasetError(
                f"{files.root}: {own[int(found[2])]} and {found.string} are one slice; give one copy only"
            )
        own[int(found[2])] = found.string
    taken: list[Run] = []
    # A row that does not say its series belongs to no scan, but is told.
    failing = [
        failing_case(f"a row without series, {n}", "train", row.error)
        for n, row in enumerate(bad.get("", ()), start=1)
    ]
    left_out: dict[str, str] = {}
    for name, slices in series.items():
        before = 0
        for part in _without_gaps(sorted(slices)):
            own_lesions = tuple(lesion for lesion in lesions.get(name, []) if lesion.slice in part)
            wrong = [row for row in bad.get(name, ()) if row.slice in part]
            run = Run(name, {number: slices[number] for number in part}, own_lesions, before, len(slices))
            before += len(part)
            if not own_lesions and not wrong:
                left_out[run.name] = "no lesion of DL_info.csv on its slices"
            elif len(part) == 1:
                left_out[run.name] = "a single slice, no scan"
            elif wrong:
                failing.append(failing_case(run.name, "train", wrong[0].error))
            else:
                taken.append(run)
    return taken, failing, left_out


def read_run(files: SourceFiles, run: Run) -> Image:
    """The scan of a run.

    Raises:
        VolumeError: a slice is no 16-bit picture, or has another size than the others.
    """
    names = list(run.slices.values())
    with files.at_hand(names) as folder:
        planes = [read_png(folder / PurePosixPath(name).name, files.describe(name)) for name in names]
    for name, plane in zip(names, planes, strict=True):
        if plane.dtype != np.uint16 or plane.shape != planes[0].shape:
            raise VolumeError(
                f"{files.describe(name)}: {plane.dtype} of {plane.shape} pixels; 16 bits and {planes[0].shape} of all "
                "slices are needed (the 8-bit pictures of the data set are no HU)"
            )
    # From the feet up.
    array = (np.stack(planes[::-1]).astype(np.int32) - OFFSET).astype(np.int16)
    depth, height, width = array.shape
    spacing = run.lesions[0].spacing_xyz
    grid = Grid((depth, height, width), spacing, (0.0, 0.0, -max(run.slices) * spacing[2]))
    return Image(array, grid, Source(path=files.root / PurePosixPath(names[0]).parent))


def read_png(path: object, where: str) -> NDArray[np.generic]:
    """A grey picture as it is stored, (rows, columns).

    Raises:
        VolumeError: it cannot be read, or has colours.
    """
    try:
        plane = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise VolumeError(
            f"{where}: cannot be read as PNG ({str(error).splitlines()[-1].strip()})"
        ) from error
    if plane.ndim != 2:
        raise VolumeError(f"{where}: no grey picture of two axes, but of shape {plane.shape}")
    return np.asarray(plane)


def lesion_row(number: int, lesion: KeyLesion) -> LesionRow:
    """What is known of a lesion, places in LPS mm at pixel centres.

    Args:
        number: of the lesion in its case.
        lesion: the row of ``DL_info.csv``.
    """
    x, y, z = lesion.spacing_xyz
    places = {"min_x": lesion.box_xyxy[0] * x, "min_y": lesion.box_xyxy[1] * y}
    places |= {"max_x": lesion.box_xyxy[2] * x, "max_y": lesion.box_xyxy[3] * y, "key_z": -lesion.slice * z}
    for end, (column, row) in zip(("long_1", "long_2", "short_1", "short_2"), lesion.axes_xy, strict=True):
        places |= {f"{end}_x": float(column) * x, f"{end}_y": float(row) * y}
    told: dict[str, str | int | float] = {
        "lesion": number,
        "type": lesion.kind,
        "noisy": int(lesion.noisy),
        "row": lesion.index,
        "patient": lesion.patient,
        "key_slice": lesion.slice,
    }
    return told | {f"{name}_mm": round(place, 3) for name, place in places.items()}


def _read(files: SourceFiles, run: Run) -> RawScan:
    rows = tuple(lesion_row(number, lesion) for number, lesion in enumerate(run.lesions, start=1))
    return RawScan(read_run(files, run), lesions=rows, facts={"patient": run.patient})


def _without_gaps(numbers: list[int]) -> list[list[int]]:
    parts = [[numbers[0]]]
    for one, following in pairwise(numbers):
        if following == one + 1:
            parts[-1].append(following)
        else:
            parts.append([following])
    return parts


def _info(files: SourceFiles) -> tuple[dict[str, list[KeyLesion]], dict[str, list[BadRow]]]:
    """The rows of the table by series, and those that cannot be used."""
    tables = files.matching(r"(?i:DL_info\.csv)")
    if not tables:
        raise DatasetError(f"{files.root}: DL_info.csv is missing; it lies beside the pictures of DeepLesion")
    name = tables[0].string
    lesions: dict[str, list[KeyLesion]] = {}
    bad: dict[str, list[BadRow]] = {}
    for row in read_key_lesions(files.text(name), files.describe(name), (SPLIT_COLUMN,)):
        if isinstance(row, BadRow):
            bad.setdefault(row.series, []).append(row)
        elif row.split is None:
            error = DatasetError(f"{files.describe(name)}: row {row.index + 2}: {SPLIT_COLUMN} is empty")
            bad.setdefault(row.series, []).append(BadRow(row.series, row.slice, error))
        else:
            lesions.setdefault(row.series, []).append(row)
    return lesions, bad
