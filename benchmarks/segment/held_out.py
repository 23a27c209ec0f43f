"""How well is drawn what was never trained on? Dice in true slice boxes, of one or two weights files.

    python benchmarks/segment/held_out.py [--weights FILE [FILE]] [--structures PATTERN,...] [--json FILE]

Three sets, each structure in its true slice boxes (told to be exact), Dice of the whole structure:

- heads: the 16 cases of OpenKBP's pretrain split that validate; patients never trained on, structures that were, unless
  the training was told to leave them out (`data.sampling.leave_out`);
- `bodyval`: kidneys, spleen and liver of three patients. Neither their scans nor these organs' labels are in the
  training as it is now (weights that ship until decision 0064 saw them in `ts_example_ct` and `ts_example_dicom`);
- `body/`, by tissue: lungs, bone and soft parts. Scans that train, so a measure of the fit, unless `body` was left out;
  `nsclc_lung1_001` (lungs and spinal cord) never trains and is listed apart.

To see what training on a structure is worth: train once with it and once with `leave_out` of it, all else alike, and
give both files; the last column is the difference of the second to the first, mean ± standard error over cases and
structures. Takes about two minutes on one core.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.ndimage import find_objects

from benchmarks.common import answer, command, options, progress, spread
from medlsam.errors import UsageError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.measure.metrics import dice
from medlsam.segment.load import load_segmenter
from medlsam.segment.prompts import oracle_slices
from medlsam.segment.protocol import Segmenter
from medlsam.segment.sam_tiny.train_sources import REPORTED, scans_to_train
from medlsam.volume import Image, LabelMap, to_canonical

UNSEEN = "nsclc_lung1_001"
LUNGS, BONES = ("lung_*",), ("rib_*", "vertebrae_*", "hip_*", "femur_*", "humerus_*", "sacrum")
#: Smaller structures are not scored: a voxel would be a tenth of their Dice.
FEWEST_VOXELS = 60
#: Row of the table to Dice by "case structure".
Figures = dict[str, dict[str, float]]


def tissue(name: str) -> str:
    """Lungs, bone or soft, of a structure's name."""
    kinds = {"lungs": LUNGS, "bone": BONES}
    return next((k for k, names in kinds.items() if any(fnmatchcase(name, n) for n in names)), "soft")


def scans(ct: Path) -> Iterator[tuple[str, str, Path, Path, dict[int, str]]]:
    """Every scan to score: its set, name, image, labels, and label value to structure."""
    for scan in scans_to_train(ct):
        if scan.labels is not None and scan.held_out:
            yield "head", scan.name, scan.image, scan.labels, scan.names
    folder = ct / "bodyval"
    names = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["labels"]
    for labels in sorted((folder / "labelsTr").glob("*.nii.gz")):
        name = labels.name.removesuffix(".nii.gz")
        image = folder / "imagesTr" / f"{name}_0000.nii.gz"
        yield "bodyval", name, image, labels, {v: k for k, v in names.items() if v > 0}
    for path in sorted((ct / "body").iterdir()):
        if (path / "labels.nii.gz").exists():
            table = json.loads((path / "labels.json").read_text(encoding="utf-8"))
            kept = {v: k for k, v in table.items() if v > 0 and k not in REPORTED}
            yield "body", path.name, path / "image.nii.gz", path / "labels.nii.gz", kept


def row_of(group: str, case: str, structure: str) -> str:
    """The line of the table that a structure belongs to."""
    if group != "body":
        return f"{group}: {structure}"
    return f"{UNSEEN}: {tissue(structure)}" if case == UNSEEN else f"body: {tissue(structure)}"


def score(
    segmenter: Segmenter, image: Image, labels: NDArray[np.generic], names: Mapping[int, str]
) -> dict[str, float]:
    """Dice of the structures of a scan in their true slice boxes.

    Args:
        segmenter: that draws.
        image: canonical.
        labels: (Z, Y, X) on its grid.
        names: label value to structure, of those to score.
    """
    places = find_objects(labels.astype(np.int32))
    prompts, truths = {}, {}
    for value, name in names.items():
        place = places[value - 1] if value <= len(places) else None
        if place is None or np.count_nonzero(labels[place] == value) < FEWEST_VOXELS:
            continue
        z, y, x = place
        truths[name] = labels == value
        prompts[name] = oracle_slices(truths[name][place], (z.start, y.start, x.start))
    found = {}
    for name, block in segmenter.segment(image, prompts).items():
        mask = np.zeros(labels.shape, bool)
        where = tuple(
            slice(low, low + n) for low, n in zip(block.origin_zyx, block.probability.shape, strict=True)
        )
        mask[where] = block.probability >= 0.5
        found[name] = dice(mask, truths[name])
    return found


def measure(segmenters: Mapping[str, Segmenter], ct: Path, patterns: Sequence[str]) -> dict[str, Figures]:
    """Score all scans with every segmenter.

    Args:
        segmenters: by name.
        ct: the folder of the scans.
        patterns: of the structures to score; none for all.

    Raises:
        UsageError: no structure fits the patterns.
    """
    figures: dict[str, Figures] = {name: {} for name in segmenters}
    for group, case, image_file, label_file, names in scans(ct):
        wanted = {
            value: name
            for value, name in names.items()
            if not patterns or any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
        }
        if not wanted:
            continue
        image = to_canonical(read_image(image_file))
        labels: LabelMap = to_canonical(read_label_map(label_file))
        for own, segmenter in segmenters.items():
            for structure, value in score(segmenter, image, labels.array, wanted).items():
                row = figures[own].setdefault(row_of(group, case, structure), {})
                row[f"{case} {structure}"] = value
        progress(f"{group}: {case}")
    if not any(figures.values()):
        raise UsageError(f"--structures {','.join(patterns)}: no scan has a structure of this name")
    return figures


def gain(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    """The mean difference of the second to the first over what both scored, ± its standard error."""
    off = np.array([second[key] - first[key] for key in first])
    error = off.std(ddof=1) / np.sqrt(len(off)) if len(off) > 1 else float("nan")
    return f"{off.mean():+.3f} ±{error:.3f}"


def table(figures: Mapping[str, Figures]) -> Table:
    """One line for each structure of heads and `bodyval`, and for each tissue of `body/`."""
    made = Table(
        title="Dice in true slice boxes",
        box=SIMPLE_HEAD,
        caption="mean ± standard deviation over cases and structures",
    )
    names = list(figures)
    for head in ["", "n", *names, *(["second - first"] if len(names) == 2 else [])]:
        made.add_column(head, justify="left" if not head else "right")
    first = figures[names[0]]

    def line(title: str, rows: Sequence[str]) -> None:
        joined = [{key: v for row in rows for key, v in figures[own][row].items()} for own in names]
        differences = [gain(*joined)] if len(names) == 2 else []
        cells = [spread(list(own.values()), 3) for own in joined]
        made.add_row(title, str(len(joined[0])), *cells, *differences)

    for group in ("head", "bodyval", "body", UNSEEN):
        rows = [row for row in first if row.startswith(f"{group}: ")]
        for row in rows:
            line(row, [row])
        if len(rows) > 1:
            line(f"{group}, all", rows)
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["sam-tiny"],
        metavar="FILE",
        help="one or two weights files or names (%(default)s)",
    )
    parser.add_argument("--structures", default="", help="patterns of the structures to score (all)")
    arguments = parser.parse_args()
    if len(arguments.weights) > 2:
        parser.error("--weights: one or two, not more")
    segmenters = {name: load_segmenter(name, arguments.device) for name in arguments.weights}
    patterns = [pattern for pattern in arguments.structures.split(",") if pattern]
    figures = measure(segmenters, arguments.ct, patterns)
    signatures = {name: segmenter.signature for name, segmenter in segmenters.items()}
    answer([table(figures)], {"weights": signatures, "dice": figures}, arguments.json)


if __name__ == "__main__":
    command(main)
