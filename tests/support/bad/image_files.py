"""Image files that are no scans, or damaged ones: name of the kind to what writes it and what is said of it."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813

from medlsam.io.write import write_volume
from medlsam.volume import Image

#: Writes the bad scan into a folder of its own, under a name that begins with ``bad``.
Maker = Callable[[Path, Image], object]


def nifti(change: Callable[[bytearray], object], name: str = "bad.nii") -> Maker:
    """A NIfTI file whose bytes are changed."""

    def make(folder: Path, ct: Image) -> None:
        write_volume(Image(ct.array, ct.grid), folder / "whole.nii")
        data = bytearray((folder / "whole.nii").read_bytes())
        (folder / "whole.nii").unlink()
        changed = change(data)
        (folder / name).write_bytes(bytes(data) if changed is None else bytes(changed))  # type: ignore[call-overload]

    return make


def values(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], name: str = "bad.nii.gz") -> Maker:
    """A scan of other values, written unchecked."""

    def make(folder: Path, ct: Image) -> None:
        image = sitk.GetImageFromArray(change(ct.array))
        if image.GetDimension() == 3:
            image.SetSpacing(ct.grid.spacing_xyz)
        sitk.WriteImage(image, str(folder / name))

    return make


def spacing(*mm: float) -> Maker:
    """A scan with this spacing."""

    def make(folder: Path, ct: Image) -> None:
        image = sitk.GetImageFromArray(ct.array)
        image.SetSpacing(mm)
        sitk.WriteImage(image, str(folder / "bad.nii.gz"))

    return make


def data(content: bytes, name: str = "bad.nii.gz") -> Maker:
    """A file of these bytes."""
    return lambda folder, ct: (folder / name).write_bytes(content)


def text_header(head: str, name: str, keep: float = 1.0) -> Maker:
    """An NRRD or MetaImage header by hand, with the voxels, or a part of them, behind it."""

    def make(folder: Path, ct: Image) -> None:
        sizes = " ".join(str(n) for n in ct.array.shape[::-1])
        stored = ct.array.astype("<i2").tobytes()
        (folder / name).write_bytes(head.format(sizes=sizes).encode() + stored[: int(keep * len(stored))])

    return make


def saved(change: Callable[[nibabel.Nifti1Image], object]) -> Maker:
    """A NIfTI file whose header nibabel changes."""

    def make(folder: Path, ct: Image) -> None:
        image = nibabel.Nifti1Image(ct.array.transpose(2, 1, 0), np.diag([-1.5, -2.0, 2.5, 1.0]))
        changed = change(image)
        nibabel.save(image if changed is None else changed, folder / "bad.nii.gz")

    return make


def _pack(kind: str, place: int, *numbers: float) -> Callable[[bytearray], object]:
    return lambda stored: struct.pack_into(f"<{len(numbers)}{kind}", stored, place, *numbers)


def _sheared(image: nibabel.Nifti1Image) -> None:
    affine = image.affine.copy()
    affine[1, 2] = 0.8
    image.set_sform(affine, 1)
    image.set_qform(None, 0)


def _flat(image: nibabel.Nifti1Image) -> None:
    image.set_qform(None, 0)
    image.header["sform_code"] = 1
    image.header["srow_z"] = [0, 0, 0, 0]
    image._affine = None


def _colour(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nibabel.Nifti1Image(np.zeros(image.shape, kind), image.affine)


def _four(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.stack([np.asarray(image.dataobj)] * 3, axis=-1), image.affine)


def _mhd(folder: Path, ct: Image, lose: bool) -> None:
    write_volume(Image(ct.array, ct.grid), folder / "bad.mhd")
    stored = folder / "bad.zraw"
    if lose:
        stored.unlink()
    else:
        stored.write_bytes(stored.read_bytes()[:100])


_NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n"
_MHA = "ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\n"
_LOCAL = "ElementDataFile = LOCAL\n"

#: Kind to what makes it and what is said, a regular expression.
IMAGE_FILES: dict[str, tuple[Maker, str]] = {
    "an empty file": (data(b""), r"the file is empty \(0 bytes\); copy it again"),
    "an empty nii": (data(b"", "bad.nii"), "the file is empty"),
    "an error page": (data(b"<html>404</html>" * 40), "not a NIfTI file"),
    "a git-lfs pointer": (
        data(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n" * 9),
        "not a NIfTI file",
    ),
    "text as nrrd": (data(b"hello", "bad.nrrd"), "no voxel spacing in the header"),
    "a pickle as a scan": (data(pickle.dumps({"a": 1}) * 50), "not a NIfTI file"),
    "zeros": (data(bytes(5000), "bad.nii"), "not a NIfTI file"),
    "gzip of nothing": (data(gzip.compress(b"")), "not a NIfTI file"),
    "gzipped twice": (nifti(lambda d: gzip.compress(gzip.compress(bytes(d))), "bad.nii.gz"), "gzipped twice"),
    "a tail behind gzip": (
        nifti(lambda d: gzip.compress(bytes(d)) + b"tail" * 9, "bad.nii.gz"),
        "other bytes follow",
    ),
    "cut off gzip": (nifti(lambda d: gzip.compress(bytes(d))[:-2000], "bad.nii.gz"), "truncated or damaged"),
    "cut off nii": (nifti(lambda d: d[:-2000]), "truncated or damaged"),
    "damaged gzip": (
        nifti(
            lambda d: gzip.compress(bytes(d))[:3000] + bytes(200) + gzip.compress(bytes(d))[3200:],
            "bad.nii.gz",
        ),
        "truncated or damaged",
    ),
    "a header alone": (nifti(lambda d: d[:352]), "truncated or damaged"),
    "half a header": (nifti(lambda d: d[:200]), "not a NIfTI file"),
    "spacing 0": (nifti(_pack("f", 80, 0, 0, 0)), "no voxel spacing in the header"),
    "spacing NaN": (nifti(_pack("f", 80, np.nan, 1, 1)), "no voxel spacing in the header"),
    "negative size": (nifti(_pack("h", 42, -5, 28, 24)), "truncated|single slice|fewer|more voxels|not a"),
    "a size of 32,767": (nifti(_pack("h", 42, 32767, 32767, 32767)), "truncated or damaged"),
    "transform NaN": (
        nifti(lambda d: (_pack("f", 280, np.nan)(d), _pack("h", 252, 0)(d), None)[2]),
        "not a number",
    ),
    "transform flat": (saved(_flat), "no extent along an axis|not at right angles|no voxel spacing"),
    "transform sheared": (saved(_sheared), "not at right angles.*resample"),
    "colour": (saved(_colour), "voxels that are no real numbers"),
    "complex": (
        saved(lambda i: nibabel.Nifti1Image(np.zeros(i.shape, np.complex64), i.affine)),
        "no real numbers",
    ),
    "four dimensions": (saved(_four), "4D"),
    "two dimensions": (values(lambda hu: hu[5]), "a 2D image"),
    "a single slice": (values(lambda hu: hu[5:6]), "a single slice"),
    "NaN": (
        values(lambda hu: np.where(hu > 600, np.nan, hu).astype(np.float32)),
        r"values are NaN or infinite",
    ),
    "infinite": (
        values(lambda hu: np.where(hu > 600, np.inf, hu).astype(np.float32)),
        "values are NaN or infinite",
    ),
    "NaN around": (
        values(lambda hu: np.where(hu < -900, np.nan, hu).astype(np.float32)),
        "outside the field of view",
    ),
    "one value": (values(lambda hu: np.full_like(hu, -1000)), "every value is -1000"),
    "a picture": (
        values(lambda hu: ((np.clip(hu, -160, 240) + 160) / 400 * 255).astype(np.uint8)),
        "8-bit picture, already windowed",
    ),
    "a signed picture": (
        values(lambda hu: np.clip(hu, -128, 127).astype(np.int8)),
        "8-bit picture stored with a sign",
    ),
    "normalised": (values(lambda hu: ((hu + 1000) / 2000).astype(np.float32)), "this looks normalised"),
    "standardised": (
        values(lambda hu: ((hu - hu.mean()) / hu.std()).astype(np.float32)),
        "not CT in HU: values",
    ),
    "1024 too high": (values(lambda hu: hu + 1024), "rescale intercept was not applied"),
    "1000 too high": (values(lambda hu: hu + 1000), "not CT in HU"),
    "1024 too high, padded": (
        values(lambda hu: np.where(hu < -900, -2000, hu + 1024)),
        "not CT in HU",
    ),
    "1024 too low": (values(lambda hu: hu - 1024), "was 1024 subtracted twice"),
    "wrapped": (values(lambda hu: hu.astype(np.uint16)), "not CT in HU"),
    "scaled by ten": (
        values(lambda hu: hu.astype(np.int32) * 100),
        "no material reaches that value|not CT in HU",
    ),
    "MR": (values(lambda hu: (hu.astype(np.int32) + 1000) // 3 + 5), "MR or another modality|not CT in HU"),
    "a mask": (values(lambda hu: (hu > 0).astype(np.uint8)), "not CT in HU"),
    "spacing 50 mm": (spacing(1.0, 1.0, 50.0), "is outside 0.1 to 20 mm"),
    "spacing 0.01 mm": (spacing(0.01, 0.01, 1.0), "is outside 0.1 to 20 mm"),
    "longer than a person": (
        values(lambda hu: np.tile(hu, (90, 1, 1)).astype(np.int16)),
        "longer than any scan",
    ),
    "nrrd without spacing": (text_header(_NRRD + "\n", "bad.nrrd"), "no voxel spacing in the header"),
    "nrrd in inches": (
        text_header(
            _NRRD + 'space: left-posterior-superior\nspace units: "in" "in" "in"\n'
            "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n",
            "bad.nrrd",
        ),
        "the space units are",
    ),
    "nrrd cut off": (text_header(_NRRD + "spacings: 1 1 2\n\n", "bad.nrrd", 0.5), "cannot be read"),
    "nhdr without its data": (
        text_header(_NRRD + "spacings: 1 1 2\ndata file: gone.raw\n\n", "bad.nhdr", 0.0),
        "its data file missing or too short",
    ),
    "mha without spacing": (text_header(_MHA + _LOCAL, "bad.mha"), "no voxel spacing in the header"),
    "mha of spacing 0": (
        text_header(_MHA + "ElementSpacing = 1 1 0\n" + _LOCAL, "bad.mha"),
        "zero voxel spacing",
    ),
    "mha cut off": (
        text_header(_MHA + "ElementSpacing = 1 1 2\n" + _LOCAL, "bad.mha", 0.5),
        "cannot be read",
    ),
    "mhd without its data": (lambda f, ct: _mhd(f, ct, True), "its data file missing or too short"),
    "mhd with half its data": (lambda f, ct: _mhd(f, ct, False), "its data file missing or too short"),
    "a link to nothing": (
        lambda f, ct: (f / "bad.nii.gz").symlink_to("/nowhere/object.nii.gz"),
        "a link to /nowhere/object.nii.gz, which is not there",
    ),
    "a link to itself": (lambda f, ct: (f / "bad.nii.gz").symlink_to(f / "bad.nii.gz"), "which is not there"),
}
