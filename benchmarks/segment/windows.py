"""How much of a structure whole-slice models see: pixels that are black or white, in the model's window and the chosen.

    python benchmarks/segment/windows.py [--json FILE]

For structures of a phantom and of real scans, with the true boxes of their slices: the median HU inside, the window
that `--window auto` chooses by what lies inside, as templates hold it, and by the boxes alone, as where templates are
points; then the share of saturated pixels in the structure and in its boxes, in the model's own window and in the
chosen one. By SAM's and MedSAM's entry, which differ in their lung window. No network runs. Takes about half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.localize.build_templates import HU_QUANTILES
from medlsam.phantoms import phantom
from medlsam.segment.prompts import oracle_slices
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.windows import choose_window, hu_in_boxes, saturated
from medlsam.volume import Image, to_canonical

PHANTOM = ("lung_left", "trachea", "mandible", "vertebrae", "femur_left", "liver", "kidney_left", "colon")
#: Scan to the structures that are looked at.
BODY = {
    "lidc_0001": ("lung_left", "lung_right"),
    "ts_example_ct": ("vertebrae_L3", "hip_left", "femur_left", "rib_left_8", "liver", "aorta", "colon"),
}
HEADS = ("openkbp_066", "openkbp_082")
OF_HEADS = ("Mandible", "Larynx", "Esophagus", "SpinalCord", "RightParotid")
MODELS = ("sam_vit_b", "medsam_vit_b")


def masks(ct: Path) -> Iterator[tuple[str, str, Image, NDArray[np.bool_]]]:
    """Scan, structure, canonical image and mask."""
    made = phantom(11, (3.0, 3.0, 3.0), "body")
    values = {name: value for value, name in made.names.items()}
    for name in PHANTOM:
        yield "phantom", name, made.image, made.labels.array == values[name]
    sets = [(ct / "body" / case, "image.nii.gz", "labels.nii.gz", names) for case, names in BODY.items()]
    root = ct / "openkbp" / "templates"
    sets += [(root, f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz", OF_HEADS) for case in HEADS]
    heads = json.loads((ct / "openkbp" / "dataset.json").read_text())["labels"]
    for folder, image_name, labels_name, names in sets:
        image = to_canonical(read_image(folder / image_name))
        labels = to_canonical(read_label_map(folder / labels_name))
        known = json.loads((folder / "labels.json").read_text()) if folder.parent.name == "body" else heads
        case = folder.name if folder.parent.name == "body" else Path(labels_name).name.removesuffix(".nii.gz")
        for name in names:
            mask = labels.array == known[name]
            if mask.any():
                yield case, name, image, mask


def measure(image: Image, mask: NDArray[np.bool_], spec: SegmenterSpec) -> dict[str, Any]:
    """The windows that are chosen for a structure, and the shares of saturated pixels."""
    inside, boxes = image.array[mask], hu_in_boxes(image, oracle_slices(mask))
    chosen, by_boxes = (choose_window(hu, spec) for hu in (np.quantile(inside, HU_QUANTILES), boxes))
    own, other = spec.window, chosen or spec.window
    return {
        "model": spec.name,
        "median": float(np.median(inside)),
        "window": "model" if chosen is None else chosen.name,
        "by boxes": "model" if by_boxes is None else by_boxes.name,
        "inside": [saturated(inside, w.low, w.high) for w in (own, other)],
        "boxes": [saturated(boxes, w.low, w.high) for w in (own, other)],
    }


def main() -> None:
    arguments = options(__doc__).parse_args()
    rows = [
        {"scan": scan, "structure": structure, **measure(image, mask, SEGMENTERS[model])}
        for scan, structure, image, mask in masks(arguments.ct)
        for model in MODELS
    ]
    table = Table(title="black or white pixels, model's window to chosen window")
    for head in ("scan", "structure", "model", "median HU", "window", "by boxes", "in it", "in its boxes"):
        table.add_column(head, no_wrap=head != "model")
    for row in rows:
        shares = ("{:.2f} to {:.2f}".format(*row[where]) for where in ("inside", "boxes"))
        cells = (row["scan"], row["structure"], row["model"], f"{row['median']:.0f}")
        table.add_row(*cells, row["window"], row["by boxes"], *shares)
    answer([table], {"rows": rows}, arguments.json)


if __name__ == "__main__":
    command(main)
