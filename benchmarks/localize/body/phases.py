"""One patient in several contrast phases: does the localizer answer the same where only the contrast differs?

The labels of one phase are carried over in LPS mm: the phases were scanned in one session on one table. Between them
people breathe, so some millimetres of every distance are true motion, the same for every localizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import SeenOnce
from benchmarks.localize.body.cases import Finding, Patient, ask
from medlsam.geometry import Box
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.protocol import ScanEmbedding
from medlsam.volume import Image, to_canonical
from medlsam.volume.hounsfield import BODY_HU

#: Labelled phase to the patient's other phases, as cases of `body2/`.
PHASES = {
    "hcc_005_b_ph2": ("hcc_005_b_ph1", "hcc_005_b_ph3"),
    "hcc_007_a2": ("hcc_007_a1",),
    "hcc_009_a_ph2": ("hcc_009_a_ph1",),
}
STEP_MM = 24.0
#: A place is searched in a window of this half width, around itself moved by up to ``MOVED_MM`` along each axis.
WINDOW_MM = 48.0
MOVED_MM = 24.0
TEMPERATURE = 0.03


@dataclass(frozen=True)
class Matched:
    """Places of one phase, looked for in another (or in the same one).

    Attributes:
        source: scan whose features are looked for.
        target: scan that they are looked for in.
        distances_mm: from the true place, one for each place.
    """

    source: str
    target: str
    distances_mm: tuple[float, ...]


def lattice(image: Image, views: Sequence[Box], step_mm: float = STEP_MM) -> NDArray[np.float64]:
    """Places (N, 3) LPS mm of a lattice in the body, at least one step from the edges of some views.

    The body is read off the image, not off an embedding: the places are the same for every localizer.

    Args:
        image: canonical, HU.
        views: boxes of the scans that must hold the places.
        step_mm: between neighbours; half of a cube of this size around a place is denser than air.
    """
    low = np.max([view.min for view in views], axis=0) + step_mm
    high = np.min([view.max for view in views], axis=0) - step_mm
    axes = [np.arange(a, b, step_mm) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    body = image.array > BODY_HU
    half = np.maximum(np.rint(step_mm / 2 / np.asarray(image.grid.spacing_xyz)).astype(int), 1)
    kept = []
    for place in places:
        i, j, k = np.rint(image.grid.lps_to_ijk(place)).astype(int)
        a, b, c = (slice(max(n - h, 0), n + h + 1) for n, h in zip((k, j, i), half[::-1], strict=True))
        if body[a, b, c].mean() >= 0.5:
            kept.append(place)
    return np.asarray(kept).reshape(-1, 3)


def matched(source: ScanEmbedding, target: ScanEmbedding, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mm between places and where the target's features answer those that the source has there."""
    moved = places + np.random.default_rng(0).uniform(-MOVED_MM, MOVED_MM, places.shape)
    features = source.read(places)[1]
    around = torch.from_numpy(moved).float()
    found = target.refine(features[:, None], around, WINDOW_MM, TEMPERATURE).points[:, 0]
    return np.asarray(np.linalg.norm(found.numpy() - places, axis=1))


def phase_boxes(
    localizer: SeenOnce, body2: Path, patients: Sequence[Patient], names: dict[int, str]
) -> tuple[list[tuple[Finding, Finding]], list[Matched]]:
    """Boxes and places of every patient with phases: (labelled phase, other phase) pairs, and places both ways.

    Args:
        localizer: finds structures.
        body2: folder of the phases.
        patients: with labels; the others of them are a patient's templates.
        names: value to structure.
    """
    pairs, places = [], []
    for patient in (p for p in patients if p.name in PHASES):
        others = [other.scan for other in patients if other is not patient]
        templates = build_templates(localizer, others, names)  # type: ignore[arg-type]
        images = {
            name: to_canonical(read_image(body2 / name / "image.nii.gz"))
            for name in (patient.name, *PHASES[patient.name])
        }
        answers = {}
        for name, image in images.items():
            phase = replace(patient, name=name, scan=Template(name, image), cut=())
            answers[name] = ask(localizer, "phases", phase, templates)
        for name in PHASES[patient.name]:
            pairs += list(zip(answers[patient.name], answers[name], strict=True))
            places += phase_places(localizer, {patient.name: images[patient.name], name: images[name]})
    return pairs, places


def phase_places(localizer: SeenOnce, images: dict[str, Image]) -> list[Matched]:
    """Places of each of two phases, searched in the other one and, as the least there can be, in itself."""
    views = [image.grid.box for image in images.values()]
    found = []
    for source, image in images.items():
        places = lattice(image, views)
        for target, other in images.items():
            away = matched(localizer.embed(image), localizer.embed(other), places)
            found.append(Matched(source, target, tuple(round(float(d), 2) for d in away)))
    return found
