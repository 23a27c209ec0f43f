"""How good are the masks that sam-tiny draws from six points, and does the gate tell the good ones from the bad?

    python benchmarks/segment/drawn_masks.py [--limit 16] [--json FILE]

On training scans, where choices are made: the last heads of the `pretrain` split, which `sam-tiny` was not trained on,
and the whole structures of an abdomen whose labels a model drew. Three ways to mark a structure: its extreme points,
the centres of its box's faces (an ROI), and the box for every slice. Printed are the IoU of the boxes that the
segmenter is given in the slices with the true ones; the Dice of what is drawn; and the Dice of what `LEAST_IOU` keeps
and leaves out; ± is one standard deviation over structures. Two minutes on two cores.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, options, progress, spread
from medlsam.geometry import ExtremePoints
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_label_names
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.slicer_markups.extreme_points import face_centres
from medlsam.localize.build_templates import Template
from medlsam.localize.templates.outline import ROWS, outline_of_points
from medlsam.localize.templates.shape import at_equal_steps, slice_profile
from medlsam.measure.metrics import dice
from medlsam.pipeline.drawn_masks import LEAST_IOU, draw
from medlsam.volume import to_canonical

WAYS = ("points", "ROI", "ROI, whole box")
ABDOMEN = "ts_example_ct"
#: Structures of fewer voxels are left out.
LEAST_VOXELS = 200


@dataclass(frozen=True)
class Drawn:
    """One structure, drawn in one way."""

    structure: str
    slices: float
    dice: float
    share: float


def scans(ct: Path, limit: int) -> Iterator[tuple[Template, dict[str, NDArray[np.bool_]]]]:
    """Scans with the true masks (canonical grid) of the structures that lie wholly in them."""
    heads, body = ct / "openkbp", ct / "body" / ABDOMEN
    known = json.loads((heads / "cases.json").read_text())
    names = {int(value): name for value, name in known["labels"].items()}
    chosen = json.loads((heads / "splits.json").read_text())["pretrain"][-limit:]
    for case in find_cases(heads / "imagesTr"):
        if case.name in chosen:
            labels = to_canonical(read_label_map(heads / "labelsTr" / f"{case.name}.nii.gz"))
            whole = known["cases"][case.name]["complete"]
            own = {name: labels.array == value for value, name in names.items() if name in whole}
            yield Template(case.name, read_image(case.path)), own
    labels = to_canonical(read_label_map(body / "labels.nii.gz"))
    masks = {name: labels.array == value for value, name in read_label_names(body / "labels.json").items()}
    yield (
        Template(ABDOMEN, read_image(body / "image.nii.gz")),
        {f"{ABDOMEN}: {name}": mask for name, mask in masks.items() if not (mask[0].any() or mask[-1].any())},
    )


def roi(points: ExtremePoints) -> ExtremePoints:
    """What a reader of markups makes of the points' box, drawn as an ROI."""
    return ExtremePoints.from_unordered(face_centres(points.box))


def whole_box(points: ExtremePoints, rows: int = ROWS) -> NDArray[np.float32]:
    """The outline of a structure of which nothing but the box is asked."""
    t = (np.arange(rows) + 0.5) / rows
    return np.column_stack([t, np.tile([0, 0, 1, 1], (rows, 1))]).astype(np.float32)


def slice_iou(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Mean IoU of the boxes of two outlines with the same rows."""
    low, high = np.maximum(one[:, 1:3], other[:, 1:3]), np.minimum(one[:, 3:], other[:, 3:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(sides[:, 3:] - sides[:, 1:3]).prod(axis=1) for sides in (one, other)]
    return float(np.mean(common / (areas[0] + areas[1] - common)))


def table(found: dict[str, list[Drawn]]) -> Table:
    """One line per way."""
    made = Table(title=f"masks that sam-tiny draws; kept from a box IoU of {LEAST_IOU:g}")
    for head in ("marked by", "n", "slice boxes, IoU", "Dice", "kept", "Dice of kept", "Dice of the others"):
        made.add_column(head, justify="left" if head == "marked by" else "right")
    for way, own in found.items():
        kept = [one for one in own if one.share >= LEAST_IOU]
        left = [one for one in own if one.share < LEAST_IOU]
        cells = [spread([one.slices for one in own]), spread([one.dice for one in own]), str(len(kept))]
        made.add_row(
            way, str(len(own)), *cells, *(spread([one.dice for one in part]) for part in (kept, left))
        )
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=16, help="so many heads, of the last 16 (%(default)s)")
    arguments = parser.parse_args()
    model = medlsam.load(localizer=arguments.localizer, device=arguments.device)
    found: dict[str, list[Drawn]] = defaultdict(list)
    for scan, masks in scans(arguments.ct, arguments.limit):
        grid = to_canonical(scan.image).grid
        masks = {name: mask for name, mask in masks.items() if mask.sum() >= LEAST_VOXELS}
        points = {name: ExtremePoints.from_mask(mask, grid) for name, mask in masks.items()}
        for way in WAYS:
            marked = points if way == "points" else {name: roi(own) for name, own in points.items()}
            outline = whole_box if way == WAYS[-1] else outline_of_points
            template = Template(scan.name, scan.image, points=marked)
            with mock.patch("medlsam.pipeline.drawn_masks.outline_of_points", outline):
                drawn = draw(template, lambda: model.segmenter)
            for name, (mask, share) in drawn.items():
                true = at_equal_steps(slice_profile(masks[name], grid, points[name].box), ROWS)
                own = Drawn(name, slice_iou(outline(marked[name]), true), dice(mask, masks[name]), share)
                found[way].append(own)
        progress(f"{scan.name}: {len(masks)} structures")
    document = {way: [vars(one) for one in own] for way, own in found.items()}
    answer([table(found)], document, arguments.json)


if __name__ == "__main__":
    command(main)
