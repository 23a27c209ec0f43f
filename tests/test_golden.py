"""One seeded scan, located and segmented with what ships: every number must stay what it was.

Other tests hold properties; this one holds the constants of the search, the status and the propagation, which can
change without breaking any property. The person lacks one structure, so that a missing one is among the answers.
Where a change of these numbers is wanted, ``python -m tests.test_golden`` writes them anew.

The networks run in float32. Tolerances are about ten times what other thread counts and processors change, and well
below what the smallest change of a constant does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medlsam
from medlsam.localize.build_templates import Support, build_templates
from medlsam.measure.metrics import dice
from medlsam.phantoms import phantom

GOLDEN = Path(__file__).with_suffix(".json")
STRUCTURES = ("liver", "spleen", "stomach", "kidney_left", "kidney_right")
ABSENT = "kidney_right"
#: Heights of the phantom that are scanned, mm: the structures and a few centimetres around them.
REGION = (250.0, 460.0)
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
        Structure to status, confidence, box faces (LPS mm), evidence, voxels of the mask and Dice with the true one.
    """
    made = [phantom(seed, (5.0, 5.0, 5.0), REGION) for seed in (1, 2, 3)]
    scan = phantom(11, (4.0, 4.0, 3.0), REGION, absent=(ABSENT,))
    model = medlsam.load(device="cpu", precision="float32")
    supports = [Support(f"person {n}", p.image, p.labels) for n, p in enumerate(made, start=1)]
    templates = build_templates(model.localizer, supports, scan.names, STRUCTURES)
    result = model.segment(scan.image, templates, case="golden")
    found = {}
    for name, organ in result.localization.organs.items():
        mask, truth = (labels.array == templates.values[name] for labels in (result.labels, scan.labels))
        found[name] = {
            "status": organ.status,
            "confidence": round(organ.confidence, 4),
            "faces_mm": [round(float(face), 2) for face in organ.box.faces],
            "margin_mm": [round(margin, 2) for margin in templates.calibration[name].margin_mm],
            "evidence": {key: round(organ.details[key], 4) for key in EVIDENCE},
            "voxels": int(mask.sum()),
            "dice": round(dice(mask, truth), 4) if truth.any() else None,
        }
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return measure()


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, Any]]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STRUCTURES)
def test_localization_is_what_it_was(found: dict[str, Any], golden: dict[str, Any], name: str) -> None:
    now, then = found[name], golden[name]
    assert now["status"] == then["status"]
    assert now["confidence"] == pytest.approx(then["confidence"], abs=0.005)
    assert np.allclose(now["faces_mm"], then["faces_mm"], rtol=0, atol=0.3)
    assert np.allclose(now["margin_mm"], then["margin_mm"], rtol=0, atol=0.3)
    for key, tolerance in EVIDENCE.items():
        assert now["evidence"][key] == pytest.approx(then["evidence"][key], abs=tolerance), key


@pytest.mark.parametrize("name", STRUCTURES)
def test_mask_is_what_it_was(found: dict[str, Any], golden: dict[str, Any], name: str) -> None:
    now, then = found[name], golden[name]
    assert now["voxels"] == pytest.approx(then["voxels"], rel=0.005)
    assert now["dice"] == pytest.approx(then["dice"], abs=0.003)


def test_the_numbers_cover_what_they_are_for(golden: dict[str, Any]) -> None:
    assert {entry["status"] for entry in golden.values()} > {"found"}
    assert golden[ABSENT]["voxels"] == 0


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")
