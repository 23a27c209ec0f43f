"""The one scan that a caller means, its name, and the random numbers that belong to that name."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch

from medlsam.errors import UsageError
from medlsam.io.cases import find_cases, read_case
from medlsam.io.folders import case_name
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image


def open_scan(image: Image | str | Path, stopwatch: Stopwatch) -> tuple[Image, str]:
    """Return a scan and its name; reading it, where it is not in memory yet, is timed as ``read``.

    Raises:
        UsageError: a path that means several scans, or none.
        VolumeError: the scan cannot be read, or is no CT.
    """
    if isinstance(image, Image):
        return image, case_name(image.path) if image.path is not None else "scan"
    with stopwatch("read"):
        cases = find_cases(image)
        if len(cases) > 1:
            raise UsageError(
                f"{image}: holds {len(cases)} scans ({cases[0].name}, {cases[1].name}, ...); give one, "
                "or use medlsam.segment_folder"
            )
        return read_case(cases[0]), cases[0].name


def case_generator(seed: int, case: str) -> torch.Generator:
    """The random stream of one scan: the same whatever the other scans are."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed}/{case}".encode()))
