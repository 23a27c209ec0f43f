"""What was never trained on: the scans, the lines of the table, the difference of two files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.segment import held_out
from medlsam.geometry import Grid
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.sam_tiny.train_sources import HELD_OUT
from medlsam.volume import Image


def test_heads_are_those_that_validate_and_bodyval_is_there(tmp_path: Path) -> None:
    heads = [f"openkbp_{number:03d}" for number in range(HELD_OUT + 3)]
    (tmp_path / "openkbp").mkdir()
    split = {"templates": heads[:1], "val": heads[1:2], "pretrain": heads[2:]}
    (tmp_path / "openkbp" / "splits.json").write_text(json.dumps(split))
    (tmp_path / "openkbp" / "dataset.json").write_text(json.dumps({"labels": {"Larynx": 1}}))
    (tmp_path / "bodyval" / "labelsTr").mkdir(parents=True)
    (tmp_path / "bodyval" / "labelsTr" / "crlm_1006.nii.gz").touch()
    (tmp_path / "bodyval" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 4}}))
    for name in ("lidc_0001", held_out.UNSEEN):
        (tmp_path / "body" / name).mkdir(parents=True)
        for file in ("image.nii.gz", "labels.nii.gz"):
            (tmp_path / "body" / name / file).touch()
        (tmp_path / "body" / name / "labels.json").write_text(json.dumps({"lung_left": 1, "liver": 2}))
    found = [(group, case, names) for group, case, _, _, names in held_out.scans(tmp_path)]
    assert [case for group, case, _ in found if group == "head"] == heads[-HELD_OUT:]
    assert found[HELD_OUT:] == [
        ("bodyval", "crlm_1006", {4: "liver"}),
        ("body", "lidc_0001", {1: "lung_left"}),
        ("body", held_out.UNSEEN, {1: "lung_left"}),
    ]


@pytest.mark.parametrize(
    ("group", "case", "structure", "row"),
    [
        ("head", "openkbp_001", "Larynx", "head: Larynx"),
        ("body", "lidc_0001", "lung_left", "body: lungs"),
        ("body", "ts_example_ct", "rib_left_7", "body: bone"),
        ("body", "ts_example_ct", "costal_cartilages", "body: soft"),
        ("body", "nsclc_lung1_001", "spinal_cord", "nsclc_lung1_001: soft"),
    ],
)
def test_lines_of_the_table(group: str, case: str, structure: str, row: str) -> None:
    assert held_out.row_of(group, case, structure) == row


class Halves:
    """Draws the left half of every box."""

    def segment(self, image: Image, prompts: dict[str, list[SlicePrompt]]) -> dict[str, MaskBlock]:
        blocks = {}
        for name, own in prompts.items():
            assert all(prompt.error_mm == 0 for prompt in own)
            block = np.zeros(image.array.shape, np.float32)
            for prompt in own:
                x0, y0, x1, y1 = (round(side + 0.5) for side in prompt.box_xyxy)
                block[prompt.z, y0:y1, x0 : (x0 + x1) // 2] = 1
            blocks[name] = MaskBlock((0, 0, 0), block)
        return blocks


def test_dice_is_of_the_whole_structure_and_tiny_ones_are_left_out() -> None:
    labels = np.zeros((5, 20, 20), np.uint8)
    labels[1:4, 4:12, 6:14], labels[0, 0, 0] = 1, 2
    image = Image(np.zeros(labels.shape, np.int16), Grid((5, 20, 20), (1.0, 1.0, 1.0)))
    found = held_out.score(Halves(), image, labels, {1: "cube", 2: "voxel", 9: "absent"})  # type: ignore[arg-type]
    assert found == {"cube": pytest.approx(2 * 0.5 / 1.5)}


def test_two_files_are_compared_case_by_case() -> None:
    first = {"head: a": {"1 a": 0.5, "2 a": 0.6}, "body: bone": {"1 rib": 0.3}}
    second = {"head: a": {"2 a": 0.8, "1 a": 0.6}, "body: bone": {"1 rib": 0.2}}
    made = held_out.table({"one": first, "other": second})
    cells = [list(column.cells) for column in made.columns]
    assert cells[0] == ["head: a", "body: bone"]
    assert cells[1] == ["2", "1"]
    assert cells[4] == ["+0.150 ±0.050", "-0.100 ±nan"]
