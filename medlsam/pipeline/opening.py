"""One scan from whatever a caller calls a scan: a volume, a file, a DICOM series folder, or a zip of one.

With the scan come its name and the stream of random numbers that belongs to it.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch

from medlsam.errors import UsageError
from medlsam.io.cases import case_name, find_cases
from medlsam.io.read import read_image
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image


def opened(image: Image | str | Path, watch: Stopwatch) -> tuple[Image, str]:
    """A scan and its name; one that has to be read is timed as ``read``.

    Raises:
        UsageError: a path that means several scans, or none.
        VolumeError: the scan cannot be read, or is no CT.
    """
    if isinstance(image, Image):
        return image, case_name(image.path) if image.path is not None else "scan"
    with watch("read"):
        return read_one(image)


def read_one(path: str | Path) -> tuple[Image, str]:
    """Read the one scan that a path means, and say its name.

    Raises:
        UsageError: the path means several scans, or none.
        VolumeError: the scan cannot be read, or is no CT.
    """
    cases = find_cases(path)
    if len(cases) > 1:
        raise UsageError(
            f"{path}: holds {len(cases)} scans ({cases[0].name}, {cases[1].name}, ...); give one, "
            "or use medlsam.segment_folder"
        )
    return read_image(cases[0].path), cases[0].name


def case_generator(seed: int, case: str) -> torch.Generator:
    """The random stream of one scan: the same whatever the other scans are."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{case}".encode()))
