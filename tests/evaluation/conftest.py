"""What the tests of evaluation share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.io.cases import Case, find_cases
from medlsam.io.write import write_volume
from medlsam.volume import Image, LabelMap
from tests.support.fakes.evaluated import NAMES, PLACES, SHAPE, SPACING, Dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Writes an nnU-Net dataset of the stub's world; the scans' axes may be turned."""

    def write(names: Sequence[str], flipped: bool = False, cases_json: Any = None) -> list[Case]:
        labels = np.zeros(SHAPE, np.uint8)
        for value, name in NAMES.items():
            labels[PLACES[name]] = value
        image = np.where(labels > 0, 40, -900).astype(np.int16)
        grid = Grid(SHAPE, SPACING)
        if flipped:
            far = grid.ijk_to_lps([SHAPE[2] - 1, SHAPE[1] - 1, 0])
            origin = (float(far[0]), float(far[1]), float(far[2]))
            grid = Grid(SHAPE, SPACING, origin, (-1, 0, 0, 0, -1, 0, 0, 0, 1))
            image, labels = image[:, ::-1, ::-1], labels[:, ::-1, ::-1]
        for name in names:
            write_volume(
                Image(np.ascontiguousarray(image), grid), tmp_path / "imagesTr" / f"{name}_0000.nii.gz"
            )
            write_volume(
                LabelMap(np.ascontiguousarray(labels), grid), tmp_path / "labelsTr" / f"{name}.nii.gz"
            )
        table = {"labels": {"background": 0, **{name: value for value, name in NAMES.items()}}}
        (tmp_path / "dataset.json").write_text(json.dumps(table))
        if cases_json is not None:
            (tmp_path / "cases.json").write_text(json.dumps({"cases": cases_json}))
        return find_cases(tmp_path / "imagesTr")

    return write
