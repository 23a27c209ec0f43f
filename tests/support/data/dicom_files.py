"""Tiny DICOM files for tests: CT series with any header, and objects that are no images."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from medlsam.volume import Image

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"


def write_ct(
    volume: Image,
    folder: Path,
    series: str = "1",
    shift_mm: tuple[float, ...] = (),
    part: str = "0",
    **fields: str,
) -> list[Path]:
    """Write a CT series, or a ``part`` of one.

    ``shift_mm`` (LPS) is added from slice to slice, ``fields`` are tags as ``t0008_0008``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.asarray(volume.grid.direction).reshape(3, 3)
    files = []
    for n, plane in enumerate(volume.array):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(volume.grid.spacing_xyz)
        place = volume.grid.ijk_to_lps([0, 0, n]) + n * np.asarray(shift_mm or (0.0, 0.0, 0.0))
        tags = {
            "0008|0060": "CT",
            "0008|0016": CT_IMAGE,
            "0008|0018": f"1.2.3.{series}.{part}.{n}",
            "0020|000e": f"1.2.3.{series}",
            "0020|000d": "1.2.3",
            "0020|0052": "1.2.3.9",
            "0020|0032": "\\".join(f"{v:.6f}" for v in place),
            "0020|0037": "\\".join(f"{v:.9f}" for v in direction[:, :2].T.ravel()),
            "0020|0013": str(n),
            "0028|1052": "-1024",
            "0028|1053": "1",
        } | {name[1:].replace("_", "|"): value for name, value in fields.items()}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # File names in another order than the slices.
        files.append(folder / f"{series}_{part}_{(n * 7) % len(volume.array):03d}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


def write_object(path: Path, sop_class: str, modality: str, series: str = "7") -> None:
    """Write a DICOM file without pixels (explicit little endian) with a sequence of undefined length in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + _element(0x0008, 0x0060, b"CS", "XX")
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = b"\0" * 128 + b"DICM" + _element(0x0002, 0x0010, b"UI", "1.2.840.10008.1.2.1")
    data += _element(0x0008, 0x0016, b"UI", sop_class) + _element(0x0008, 0x0018, b"UI", f"1.2.3.{series}.1")
    data += _element(0x0008, 0x0060, b"CS", modality)
    data += struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item
    data += _element(0x0020, 0x000D, b"UI", "1.2.3") + _element(0x0020, 0x000E, b"UI", f"1.2.3.{series}")
    path.write_bytes(data + _element(0x0040, 0xA040, b"CS", "CONTAINER"))


def _element(group: int, element: int, kind: bytes, text: str) -> bytes:
    value = text.encode()
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, kind, len(value)) + value
