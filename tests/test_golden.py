"""One seeded person, located and segmented with what ships: every number must stay what it was.

Other tests hold properties; this one holds the constants of search, status and propagation, which can change without
breaking a property. One scan shows the person without a stomach, so that something is uncertain; the other one ends
below most structures, so that something is out of view. Where new numbers are wanted, ``python -m tests.test_golden``
writes them. The networks run in float32; tolerances leave room for another processor's rounding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medlsam
from medlsam.localize.build_templates import Template, build_templates
from medlsam.measure.metrics import dice
from medlsam.phantoms import phantom

GOLDEN = Path(__file__).with_suffix(".json")
STRUCTURES = ("liver", "spleen", "stomach", "kidney_left", "kidney_right")
#: Heights of the phantom that are scanned, mm: the structures and a few centimetres around them, or a part of them.
WHOLE, CUT = (250.0, 460.0), (230.0, 340.0)
#: The numbers behind a status (see ``Evidence``) and how far each may be off.
EVIDENCE = {
    "similarity": 0.002,
    "likeness": 0.002,
    "match_mm": 0.2,
    "inside": 0.002,
    "contrast": 0.02,
    "presence": 0.005,
}


def measure() -> dict[str, dict[str, Any]]:
    """Locate and segment person 11 with the templates of persons 1, 2 and 3.

    Returns:
        Scan to structure to status, confidence, box faces (LPS mm) and evidence; where the scan is segmented, also the
        voxels of the mask and their Dice with the true ones.
    """
    made = [phantom(seed, (5.0, 5.0, 5.0), WHOLE) for seed in (1, 2, 3)]
    whole = phantom(11, (4.0, 4.0, 3.0), WHOLE, absent=("stomach",))
    cut = phantom(11, (4.0, 4.0, 3.0), CUT)
    model = medlsam.load(device="cpu", precision="float32")
    scans = [Template(f"person {n}", p.image, p.labels) for n, p in enumerate(made, start=1)]
    templates = build_templates(model.localizer, scans, whole.names, STRUCTURES)
    result = model.segment(whole.image, templates, case="whole")
    found: dict[str, dict[str, Any]] = {
        "whole": {name: _located(structure) for name, structure in result.localization.structures.items()},
        "cut": {
            name: _located(o)
            for name, o in model.localize(cut.image, templates, case="cut").structures.items()
        },
    }
    for name, entry in found["whole"].items():
        mask, truth = (labels.array == templates.values[name] for labels in (result.labels, whole.labels))
        entry["voxels"] = int(mask.sum())
        if truth.any():
            entry["dice"] = round(dice(mask, truth), 4)
    return found


def _located(structure: Any) -> dict[str, Any]:
    return {
        "status": structure.status,
        "confidence": round(structure.confidence, 4),
        "faces_mm": [round(float(face), 2) for face in structure.located_box.faces],
        "prompt_faces_mm": [round(float(face), 2) for face in structure.prompt_box.faces],
        "evidence": {key: round(structure.details[key], 4) for key in EVIDENCE},
    }


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return measure()


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return kept


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("scan", ["whole", "cut"])
def test_localization_is_what_it_was(
    found: dict[str, Any], golden: dict[str, Any], scan: str, name: str
) -> None:
    now, then = found[scan][name], golden[scan][name]
    assert now["status"] == then["status"]
    assert now["confidence"] == pytest.approx(then["confidence"], abs=0.005)
    for key in ("faces_mm", "prompt_faces_mm"):
        assert np.allclose(now[key], then[key], rtol=0, atol=0.3), key
    for key, tolerance in EVIDENCE.items():
        assert now["evidence"][key] == pytest.approx(then["evidence"][key], abs=tolerance), key


@pytest.mark.parametrize("name", STRUCTURES)
def test_mask_is_what_it_was(found: dict[str, Any], golden: dict[str, Any], name: str) -> None:
    now, then = found["whole"][name], golden["whole"][name]
    assert now["voxels"] == pytest.approx(then["voxels"], rel=0.005)
    assert now.get("dice") == pytest.approx(then.get("dice"), abs=0.003)


def test_several_statuses_are_held(golden: dict[str, Any]) -> None:
    statuses = {entry["status"] for scan in golden.values() for entry in scan.values()}
    assert statuses >= {"found", "uncertain", "out_of_view"}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")
