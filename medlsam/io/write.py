"""Write a volume to an image file: whole or not at all.

NIfTI is written by nibabel, which, other than SimpleITK, can keep both transforms of a header and put the names of the
labels into it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import MedlsamError, UsageError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.nifti import nifti_grid, parse_nifti, raw_header
from medlsam.runtime.atomic_files import atomic_path, suffix_of
from medlsam.volume.volume import LabelMap, Volume, to_sitk

if TYPE_CHECKING:
    import nibabel

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
#: float32 holds every whole number up to here.
_WHOLE_IN_FLOAT32 = 2**24


_FORM_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def write_volume(
    volume: Volume,
    path: Path | str,
    *,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write a scan or label map; parent folders are made, an existing file is replaced in one step.

    Labels are stored as uint8, or uint16 where a value passes 255; HU as int16, or float32 where int16 does not hold
    them. ``.mhd`` writes the pair ``.mhd`` and ``.zraw``. What lies on the grid of the NIfTI file that its source names
    gets both transforms of that file, with their codes and units, as they are.

    Args:
        volume: what to write.
        path: where to; the extension says how.
        names: of a label map, value to structure: goes into a NIfTI header's extension, as TotalSegmentator writes and
            reads it. Other formats have no place for it.
        colours: value to red, green and blue (0 to 255) beside the names; white where there is none.

    Raises:
        UsageError: the extension is none of nii.gz, nii, nrrd, mha, mhd.
        VolumeError: the values do not fit the types above, or the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in WRITABLE:
        raise UsageError(f"{path}: cannot write this kind of file; use one of {', '.join(WRITABLE)}")
    stored = _storable(volume, path)
    try:
        if suffix_of(path) in (".nii", ".nii.gz"):
            image = _nifti(stored, volume, names or {}, colours or {})
            with atomic_path(path) as temporary:
                image.to_filename(temporary)
        elif suffix_of(path) == ".mhd":
            _write_pair(to_sitk(stored, volume.grid), path)
        else:
            with atomic_path(path) as temporary:
                sitk.WriteImage(to_sitk(stored, volume.grid), str(temporary), useCompression=True)
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{path}: cannot be written ({str(error).strip().splitlines()[-1]})") from error


def _nifti(
    stored: NDArray[Any],
    volume: Volume,
    names: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
) -> nibabel.Nifti1Image:
    import nibabel

    affine = np.eye(4)
    affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.column_stack([volume.grid.matrix, volume.grid.origin_xyz])
    if stored.dtype == np.bool_:
        stored = stored.astype(np.uint8)
    image = nibabel.Nifti1Image(
        stored.astype(stored.dtype.newbyteorder("="), copy=False).transpose(2, 1, 0), affine
    )
    header = image.header
    header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if _lies_on(volume.source.nifti_header, volume.grid):
        before = raw_header(volume.source.nifti_header)
        for name in _FORM_FIELDS:
            header[name] = before[name]
        # The image would write its own affine over the header's.
        image._affine = header.get_best_affine()
    if names:
        header.extensions.append(nibabel.nifti1.Nifti1Extension(0, _label_table(names, colours).encode()))
    return image


def _lies_on(block: bytes, grid: Grid) -> bool:
    """Whether a stored NIfTI header is that of a grid."""
    if not block:
        return False
    try:
        return nifti_grid(Path("header"), parse_nifti(block, Path("header")), quiet=True).matches(grid, 1e-3)
    except MedlsamError:
        return False


def _label_table(names: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]) -> str:
    """The names of labels as Caret and TotalSegmentator write them."""
    rows = []
    for value, name in sorted(names.items()):
        red, green, blue = (round(part / 255, 4) for part in colours.get(value, (255, 255, 255)))
        colour = f'Red="{red:g}" Green="{green:g}" Blue="{blue:g}" Alpha="1"'
        rows.append(f'<Label Key="{value}" {colour}>{escape(name)}</Label>')
    table = "\n".join(rows)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension><VolumeInformation Index="0"><LabelTable>\n'
        f"{table}\n</LabelTable><StudyMetaDataLinkSet></StudyMetaDataLinkSet>"
        "<VolumeType><![CDATA[Label]]></VolumeType></VolumeInformation></CaretExtension>\n"
    )


def _storable(volume: Volume, path: Path) -> NDArray[Any]:
    array, kind = volume.array, volume.array.dtype.kind
    if kind not in "iubf":
        raise VolumeError(f"{path}: cannot store {array.dtype}; volumes hold HU or whole labels")
    low, high = array.min(), array.max()
    if isinstance(volume, LabelMap):
        whole = kind != "f" or bool((np.rint(array) == array).all())
        if not (whole and low >= 0 and high <= np.iinfo(np.uint16).max):
            raise VolumeError(f"{path}: values {low:g} to {high:g} are not whole labels from 0 to 65535")
        return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16, copy=False)
    if kind != "f" and np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
        return array.astype(np.int16, copy=False)
    if kind != "f" and max(-int(low), int(high)) > _WHOLE_IN_FLOAT32:
        raise VolumeError(f"{path}: values {low} to {high} are no HU: neither int16 nor float32 holds them")
    return array.astype(np.float32, copy=False)


def _write_pair(image: sitk.Image, path: Path) -> None:
    # The header names its data file, so both get their final names in a folder beside the target; the data
    # move first: a header is never seen without its data.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        sitk.WriteImage(image, str(Path(folder) / path.name), useCompression=True)
        for file in sorted(Path(folder).iterdir(), key=lambda f: f.suffix.lower() == ".mhd"):
            os.replace(file, path.parent / file.name)
