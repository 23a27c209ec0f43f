"""The main job on what ships: phantom templates and scans, segmented, scored against the truth, and drawn."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from medlsam.batch import segment_folder
from medlsam.demo.folder import claim
from medlsam.export.figures import draw_structure, png, scene
from medlsam.export.report import write_report
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.measure.metrics import dice
from medlsam.options import InferenceOptions
from medlsam.phantoms.dataset import write_phantoms
from medlsam.pipeline.model import MedLSAM, load
from medlsam.results import Localization
from medlsam.runtime.atomic_files import atomic_path, write_json

#: What is looked for: structures of several kinds and sizes, all of which a reader can recognise.
STRUCTURES = (
    "liver",
    "spleen",
    "kidney_left",
    "kidney_right",
    "stomach",
    "heart",
    "lung_left",
    "lung_right",
)
#: Heights in mm above the sitting plane: chest and upper abdomen.
REGION = (230.0, 640.0)
SPACING_XYZ = (3.0, 3.0, 3.0)
TEMPLATE_SEEDS = (101, 102, 103, 104, 105)
SCAN_SEEDS = (201, 202)
_README = """Made by `medlsam demo`. Nothing here is a patient: all scans are drawn by medlsam.phantoms.

templates/        labelled phantom scans, an nnU-Net dataset: the templates
templates.medlsam all that localization needs of them: one small file without any image
scans/            phantom scans of other people: what was segmented
truth/            their true labels, opened only afterwards, for the score
results/          what `medlsam segment` writes; report.html opens in any browser
pictures/         one picture per structure and scan, with the true outline in dashes
scores.json       Dice of each structure in each scan

The same by hand:
  medlsam segment --support templates --images scans --output by-hand
  medlsam evaluate --support templates --images scans --labels truth --output scored
"""


@dataclass(frozen=True)
class DemoResult:
    """Scores, statuses and places of a finished demo.

    Attributes:
        output: the folder.
        dice: case to structure to Dice, or None where structure and answer are both absent.
        status: case to structure to status.
        failed: case to what went wrong.
        seconds: of each part of the demo.
    """

    output: Path
    dice: dict[str, dict[str, float | None]]
    status: dict[str, dict[str, str]]
    failed: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a scan failed."""
        return 1 if self.failed else 0

    def places(self) -> dict[str, Path]:
        """Where to look."""
        return {
            "report": self.output / "results" / "report.html",
            "pictures": self.output / "pictures",
            "segmentations": self.output / "results",
            "what is what": self.output / "README.txt",
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "output": str(self.output),
            "places": {what: str(path) for what, path in self.places().items()},
            "dice": self.dice,
            "status": self.status,
            "failed": self.failed,
            "seconds": {part: round(seconds, 2) for part, seconds in self.seconds.items()},
            "exit_code": self.exit_code,
        }


def run_demo(
    output: str | Path,
    *,
    device: str = "auto",
    template_seeds: Sequence[int] = TEMPLATE_SEEDS,
    scan_seeds: Sequence[int] = SCAN_SEEDS,
    organs: Sequence[str] = STRUCTURES,
    region: str | tuple[float, float] = REGION,
    spacing_xyz: tuple[float, float, float] = SPACING_XYZ,
    model: MedLSAM | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> DemoResult:
    """Make phantom templates and scans, segment the scans, score and draw the answers.

    Args:
        output: the folder; made where it does not exist. Files of an earlier demo are replaced.
        device: where the networks run.
        template_seeds: the people who serve as templates.
        scan_seeds: the people who are segmented; others than the templates.
        organs: structures of the phantom.
        region: see ``medlsam.phantoms.phantom``.
        spacing_xyz: voxel size, mm.
        model: the networks; those that ship by default.
        on_progress: called with a short text before each part.

    Raises:
        UsageError: the folder cannot be used, or holds something else.
        WeightsError: the weights that ship are not there.
    """
    output, tell = Path(output), on_progress or (lambda text: None)
    claim(output, _README)
    model = model or load(device=device)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def part(name: str) -> None:
        nonlocal clock
        seconds[name] = time.perf_counter() - clock
        clock = time.perf_counter()

    tell("making phantoms")
    people = _datasets(output, template_seeds, scan_seeds, organs)
    write_phantoms(people, organs, region, spacing_xyz)
    part("phantoms")
    templates = model.templates(output / "templates", on_progress=tell)
    templates.save(output / "templates.medlsam")
    part("templates")
    tell("segmenting")
    # Again from the start: the phantoms are new files.
    options = InferenceOptions(device=str(model.device))
    result = segment_folder(
        model, templates, output / "scans", output / "results", options=options, overwrite=True, report=False,
        on_progress=lambda done: tell(f"segmenting {done.case}"),
    )  # fmt: skip
    part("segmentation")
    tell("scoring and drawing")
    values = {structure: number for number, structure in enumerate(organs, start=1)}
    truth = {case: output / "truth" / f"{case}.nii.gz" for case in result.done}
    scores = {case: _dice(output, case, values) for case in result.done}
    status = {case: _draw(output, case, values) for case in result.done}
    write_report(output / "results", truth, title="medlsam demo")
    part("pictures")
    done = DemoResult(output, scores, status, dict(result.failed), seconds)
    write_json(output / "scores.json", {"dice": scores, "status": status, "failed": done.failed})
    return done


def demo_table(result: DemoResult) -> Table:
    """Dice of each structure, a column for each scan; n, mean and spread at the right."""
    cases = list(result.dice)
    table = Table(title="Dice against the true labels, which segmentation never saw")
    table.add_column("structure", no_wrap=True)
    for head in (*cases, "mean ± std", "n"):
        table.add_column(escape(head), justify="right")
    structures = list(dict.fromkeys(structure for scores in result.dice.values() for structure in scores))
    everything: list[float] = []
    for structure in structures:
        cells, scored = [], []
        for case in cases:
            score, status = result.dice[case][structure], result.status[case][structure]
            mark = "" if status == "found" else f" {status.replace('_', ' ')}"
            cells.append(f"{'–' if score is None else f'{score:.2f}'}{mark}")
            scored += [] if score is None else [score]
        everything += scored
        table.add_row(structure, *cells, _spread(scored), str(len(scored)))
    table.add_section()
    table.add_row("all", *[""] * len(cases), _spread(everything), str(len(everything)), style="bold")
    parts = ", ".join(f"{part} {seconds:.0f}" for part, seconds in result.seconds.items())
    table.caption = f"{sum(result.seconds.values()):.0f} s: {parts}"
    return table


def _spread(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):.2f} ± {np.std(scores):.2f}" if scores else "–"


def _datasets(
    output: Path, template_seeds: Sequence[int], scan_seeds: Sequence[int], organs: Sequence[str]
) -> list[tuple[int, Path, Path]]:
    """Lay out the templates as an nnU-Net dataset and the scans as a flat folder, their labels apart from them.

    Args:
        output: gets ``templates``, ``scans`` and ``truth``; those of an earlier demo are removed.
        template_seeds: the people who serve as templates.
        scan_seeds: the people who are segmented.
        organs: structures that are labelled, numbered from 1.

    Returns:
        For each person the seed, the scan's file and the label map's file.
    """
    for folder in ("templates", "scans", "truth"):
        shutil.rmtree(output / folder, ignore_errors=True)
    values = {"background": 0} | {structure: number for number, structure in enumerate(organs, start=1)}
    dataset = {"channel_names": {"0": "CT"}, "labels": values, "file_ending": ".nii.gz"}
    templates, truth = output / "templates", output / "truth"
    write_json(templates / "dataset.json", dataset | {"numTraining": len(template_seeds)})
    write_json(truth / "dataset.json", dataset | {"numTraining": len(scan_seeds)})
    return [
        (seed, images / f"{stem}_{number:02d}_0000.nii.gz", labels / f"{stem}_{number:02d}.nii.gz")
        for seeds, stem, images, labels in (
            (template_seeds, "template", templates / "imagesTr", templates / "labelsTr"),
            (scan_seeds, "person", output / "scans", truth),
        )
        for number, seed in enumerate(seeds, start=1)
    ]


def _dice(output: Path, case: str, values: dict[str, int]) -> dict[str, float | None]:
    truth = read_label_map(output / "truth" / f"{case}.nii.gz").array
    answer = read_label_map(output / "results" / case / "segmentation.nii.gz").array
    scores: dict[str, float | None] = {}
    for structure, value in values.items():
        score = dice(answer == value, truth == value)
        scores[structure] = None if np.isnan(score) else round(score, 4)
    return scores


def _draw(output: Path, case: str, values: dict[str, int]) -> dict[str, str]:
    """One picture for each structure that is there; returns structure to status."""
    folder = output / "results" / case
    localization = Localization.from_dict(
        json.loads((folder / "localization.json").read_text(encoding="utf-8"))
    )
    drawn = scene(
        read_image(output / "scans" / f"{case}_0000.nii.gz"),
        read_label_map(folder / "segmentation.nii.gz"),
        {value: structure for structure, value in values.items()},
        read_label_map(output / "truth" / f"{case}.nii.gz"),
    )
    for structure in localization.structures.values():
        if structure.present:
            with atomic_path(output / "pictures" / f"{structure.name}-{case}.png") as temporary:
                temporary.write_bytes(png(draw_structure(drawn, structure)))
    return {structure.name: structure.status for structure in localization.structures.values()}
