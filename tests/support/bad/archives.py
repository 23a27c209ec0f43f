"""Zips and DICOM series that are refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medlsam.io.write import write_volume
from medlsam.volume import Image
from tests.support.bad.image_files import Maker
from tests.support.data.dicom_series import (
    new_uids,
    pixels,
    save,
    set_pixels,
    slice_dataset,
    write_enhanced,
    write_slices,
)


def series(
    change: Callable[[int, Dataset], bool | None], after: Callable[[list[Path]], object] | None = None
) -> Maker:
    """A DICOM series in the folder ``bad``."""

    def make(folder: Path, ct: Image) -> None:
        files = write_slices(ct, folder / "bad", change)
        if after is not None:
            after(files)

    return make


def enhanced(**more: object) -> Maker:
    """An enhanced CT file in the folder ``bad``."""
    return lambda folder, ct: write_enhanced(ct, folder / "bad" / "x.dcm", **more)  # type: ignore[arg-type]


def zipped(fill: Callable[[zipfile.ZipFile, Path, Image], object]) -> Maker:
    """A zip."""

    def make(folder: Path, ct: Image) -> None:
        write_volume(Image(ct.array, ct.grid), folder / "part" / "a.nii")
        with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
            fill(archive, folder / "part" / "a.nii", ct)
        (folder / "part" / "a.nii").unlink()
        (folder / "part").rmdir()

    return make


def without(tag: str) -> Callable[[int, Dataset], None]:
    """Slices that lack a field."""
    return lambda n, data: data.__delattr__(tag)


def _spacing(n: int, data: Dataset) -> None:
    if n > 8:
        data.PixelSpacing = ["9", "9"]


def _moved(mm: Callable[[int], float]) -> Callable[[int, Dataset], None]:
    def change(n: int, data: Dataset) -> None:
        x, y, z = (float(v) for v in data.ImagePositionPatient)
        data.ImagePositionPatient = [x, y + mm(n), z]

    return change


def _uneven(n: int, data: Dataset) -> None:
    x, y, z = (float(v) for v in data.ImagePositionPatient)
    data.ImagePositionPatient = [x, y, z + 1.2 * (n % 2)]


def _other_pixels(files: list[Path]) -> None:
    data = pydicom.dcmread(files[3])
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    set_pixels(data, pixels(data) + 3)
    save(data, files[3].with_name("again.dcm"))


def _undecodable(files: list[Path]) -> None:
    for file in files:
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        data.PixelData = pydicom.encaps.encapsulate([bytes(64)])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        save(data, file)


def _two_patients(archive: zipfile.ZipFile, part: Path, ct: Image) -> None:
    for patient in ("A", "B"):
        for file in write_slices(ct, part.parent / patient, uids=new_uids(patient=patient)):
            archive.write(file, f"{patient}/{file.name}")
            file.unlink()
        (part.parent / patient).rmdir()


def _encrypted(folder: Path, ct: Image) -> None:
    zipped(lambda archive, part, ct: archive.write(part, "a.nii"))(folder, ct)
    data = bytearray((folder / "bad.zip").read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    (folder / "bad.zip").write_bytes(data)


def _bomb(folder: Path, ct: Image) -> None:
    zipped(lambda archive, part, ct: archive.write(part, "a.nii"))(folder, ct)
    data = bytearray((folder / "bad.zip").read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (4_000_000_000).to_bytes(4, "little")
    # Many entries that each claim four gigabytes.
    entry = bytes(data[data.index(b"PK\x01\x02") : data.index(b"PK\x05\x06")])
    end = data.index(b"PK\x05\x06")
    tail = bytearray(data[end:])
    tail[8:10] = tail[10:12] = (6).to_bytes(2, "little")
    tail[12:16] = (6 * len(entry)).to_bytes(4, "little")
    (folder / "bad.zip").write_bytes(bytes(data[:end]) + entry * 5 + bytes(tail))


def _short(n: int, data: Dataset) -> bool:
    return n < 1


def _rows_of_zero(n: int, data: Dataset) -> None:
    data.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


ARCHIVES: dict[str, tuple[Maker, str]] = {
    "a zip of nothing": (zipped(lambda archive, part, ct: None), "no readable DICOM series"),
    "a zip that is none": (
        lambda f, ct: (f / "bad.zip").write_bytes(b"PK\x03\x04" + bytes(99)),
        "cannot be unpacked",
    ),
    "a zip of two images": (
        zipped(lambda archive, part, ct: [archive.write(part, name) for name in ("a.nii", "b.nii")]),
        "found 2 image files",
    ),
    "a zip of text": (
        zipped(lambda archive, part, ct: archive.writestr("a.txt", "x")),
        "no readable DICOM series",
    ),
    "a zip of two patients": (zipped(_two_patients), "CT of 2 studies of 2 patients"),
    "an encrypted zip": (_encrypted, "damaged or encrypted"),
    "a zip bomb": (_bomb, "unpacks to more than 16 GiB|unpacks to .* GiB, but|cannot be unpacked"),
    "a bad scan behind a path that leads out": (
        zipped(lambda archive, part, ct: archive.writestr("../../../bad_outside.nii", b"x" * 400)),
        r"bad\.zip/.*bad_outside\.nii: not a NIfTI file",
    ),
    "a link in a zip": (
        zipped(lambda archive, part, ct: archive.writestr(_link("a.nii"), "/etc/passwd")),
        r"a\.nii: not a NIfTI file",
    ),
    "a slice missing": (series(lambda n, data: n != 5), "not evenly spaced"),
    "slices of uneven steps": (series(_uneven), "not evenly spaced"),
    "other pixels at one place": (series(lambda n, data: None, _other_pixels), "lie at the place of another"),
    "no pixel spacing": (series(without("PixelSpacing")), r"no Pixel Spacing \(0028,0030\): absent"),
    "pixel spacing that changes": (series(_spacing), "Pixel Spacing changes within the series"),
    "no position": (series(without("ImagePositionPatient")), "no Image Position"),
    "no orientation": (series(without("ImageOrientationPatient")), "no Image Orientation"),
    "directions that are none": (series(_rows_of_zero), "not two directions at right angles"),
    "curved": (series(_moved(lambda n: 0.1 * n**2)), "no gantry tilt"),
    "steep": (series(_moved(lambda n: 4.0 * n)), "no gantry tilt"),
    "pixels cut off": (
        series(lambda n, data: None, lambda files: files[4].write_bytes(files[4].read_bytes()[:-300])),
        "the pixels are truncated or damaged",
    ),
    "a header cut off": (
        series(lambda n, data: None, lambda files: files[4].write_bytes(files[4].read_bytes()[:250])),
        "DICOM files are truncated or damaged",
    ),
    "a compression that nothing decodes": (
        series(lambda n, data: None, _undecodable),
        "cannot be decoded here",
    ),
    "one DICOM slice": (series(_short), "a single slice"),
    "HU without intercept": (series(lambda n, data: setattr(data, "RescaleIntercept", "0")), "not CT in HU"),
    "a frame missing": (enhanced(order=[n for n in range(16) if n != 6]), "not evenly spaced"),
    "a frame twice": (enhanced(order=[*range(16), 4]), "lie at the place of another"),
    "frames without places": (enhanced(positions=False), "no Plane Position of their own"),
    "frames without spacing": (
        enhanced(change=lambda d: d.SharedFunctionalGroupsSequence[0].__delattr__("PixelMeasuresSequence")),
        "the frames have no PixelSpacing",
    ),
    "frames cut off": (
        enhanced(change=lambda d: setattr(d, "PixelData", d.PixelData[:2000])),
        "truncated or damaged",
    ),
    "two phases that nothing tells apart": (
        lambda f, ct: [
            write_slices(Image(ct.array + 2 * n, ct.grid), f / "bad", uids=_SAME, name=f"{n}_{{}}.dcm")
            for n in (0, 1)
        ],
        "lie at the place of another",
    ),
    "a single slice file": (
        lambda f, ct: save(slice_dataset(ct, 0, new_uids()), f / "bad" / "one.dcm"),
        "a single slice",
    ),
}
_SAME = new_uids()


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info
