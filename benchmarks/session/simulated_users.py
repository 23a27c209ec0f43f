"""Do clicks and dragged faces help? Simulated users correct located masks of real scans.

    python benchmarks/session/simulated_users.py [--choose] [--limit N] [--json FILE]

A session starts from templates, as `medlsam segment` would answer. One user clicks in the middle of the largest region
that is wrong (the voxel of the region that lies deepest, as is usual in interactive segmentation), inside or outside;
another drags the face of the box that is farthest from the truth to its true place. Printed is Dice after so many
steps, mean ± standard deviation over scans and structures, beside the share of cases that lost more than 0.02 to where
they started and the largest loss.

`--choose`: scans of the `pretrain` split of openkbp, and four templates of `bodyval`, each located with the others: the
constants of `medlsam/pipeline/session` were chosen on them. Without it: heads of the `val` split, and kidneys, spleen
and liver of the three patients of `bodyval`, which decide nothing. Only structures that were located and lie wholly in
the scan count. Some ten seconds a scan on one core.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import ndimage

from benchmarks.common import answer, command, evenly, options, progress, spread
from medlsam.geometry import Box, Grid, mask_box, tight_slices
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.pipeline.model import MedLSAM, load
from medlsam.pipeline.session import Session
from medlsam.volume import to_canonical

CLICKS = (1, 2, 3, 5, 10)
FACES = (1, 2, 3)
#: A case that lost more Dice than this was made worse.
WORSE = 0.02
#: Abdomens to choose on, of patients that report nothing.
TRAINING = ("crlm_1004", "hcc_007_a2", "hcc_009_a_ph2", "acrin_flt_breast_001_b")
#: Row of the table (set and structure) to the Dice of each case, by step.
Figures = dict[str, list[dict[str, float]]]


def next_click(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.float64], bool]:
    """The middle of the largest wrong region: LPS mm, and whether it belongs to the structure."""
    both = mask | truth
    part = tight_slices(both)
    wrong = [truth[part] & ~mask[part], mask[part] & ~truth[part]]
    sizes = []
    for own in wrong:
        numbered, count = ndimage.label(own)
        counts = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
        sizes.append((int(counts.max(initial=0)), numbered == counts.argmax() + 1 if count else own))
    inside = sizes[0][0] >= sizes[1][0]
    region = sizes[0][1] if inside else sizes[1][1]
    deep = ndimage.distance_transform_edt(np.pad(region, 1), sampling=grid.spacing_xyz[::-1])[
        1:-1, 1:-1, 1:-1
    ]
    z, y, x = (
        int(n) + s.start for n, s in zip(np.unravel_index(deep.argmax(), deep.shape), part, strict=True)
    )
    return grid.ijk_to_lps((x, y, z)), inside


def next_box(box: Box, truth: Box) -> Box:
    """The box with its worst face in its true place."""
    faces, true = box.faces.copy(), truth.faces
    worst = int(np.abs(faces - true).argmax())
    faces[worst] = true[worst]
    return Box.from_faces(faces)


def whole_mask(session: Session, name: str) -> NDArray[np.bool_]:
    """The mask of a structure as a whole array (Z, Y, X) of the session's grid."""
    array, origin = session.mask(name)
    made = np.zeros(session.grid.shape_zyx, bool)
    made[tuple(slice(a, a + n) for a, n in zip(origin, array.shape, strict=True))] = array
    return made


def users(session: Session, name: str, truth: NDArray[np.bool_]) -> dict[str, float]:
    """Dice of one structure at the start, after clicks, and after dragged faces."""
    grid, whole = session.grid, partial(whole_mask, session, name)
    found = {"start": dice(whole(), truth)}
    for number in range(1, max(CLICKS) + 1):
        mask = whole()
        if (mask != truth).any():
            point, inside = next_click(mask, truth, grid)
            session.click(name, point, inside)
        if number in CLICKS:
            found[f"{number} clicks"] = dice(whole(), truth)
    while session.structures[name].can_undo:
        session.undo(name)
    true = mask_box(truth, grid)
    for number in range(1, max(FACES) + 1):
        box = session.structures[name].box
        assert box is not None, "located structures have one"
        session.move_box(name, next_box(box, true))
        if number in FACES:
            found[f"{number} faces"] = dice(whole(), truth)
    return found


@dataclass(frozen=True)
class Scan:
    """One scan to correct: its set, its name, whether its own template is left out, and what lies wholly in it."""

    group: str
    name: str
    image: Path
    labels: Path
    complete: Sequence[str]
    is_template: bool = False


def scans(ct: Path, choose: bool, limit: int) -> Iterator[Scan]:
    """Heads, evenly spaced over their split, then abdomens."""
    split = _read(ct / "openkbp/splits.json")["pretrain" if choose else "val"]
    folders = [("openkbp", ct / "openkbp", evenly(split, limit))]
    abdomens = ct / "bodyval" / ("templates" if choose else "")
    names = list(TRAINING) if choose else sorted(_read(abdomens / "cases.json")["cases"])
    folders.append(("bodyval", abdomens, names))
    for group, folder, chosen in folders:
        known = _read(folder / "cases.json")["cases"]
        for name in chosen:
            image, labels = folder / f"imagesTr/{name}_0000.nii.gz", folder / f"labelsTr/{name}.nii.gz"
            yield Scan(group, name, image, labels, known[name]["complete"], folder.name == "templates")


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def measure(model: MedLSAM, ct: Path, choose: bool, limit: int) -> Figures:
    """Let both users correct every structure of every scan."""
    figures: Figures = defaultdict(list)
    templates: dict[str, TemplateSet] = {}
    for scan in scans(ct, choose, limit):
        if scan.group not in templates:
            templates[scan.group] = model.templates(ct / scan.group / "templates")
        support = templates[scan.group]
        support = support.without(scan.name) if scan.is_template else support
        session = model.session(read_image(scan.image), support)
        truth = to_canonical(read_label_map(scan.labels))
        values = _read(ct / scan.group / "dataset.json")["labels"]
        for structure, state in session.structures.items():
            true = truth.array == values.get(structure, -1)
            if structure not in scan.complete or not true.any() or state.mask_bounds is None:
                continue
            figures[f"{scan.group}: {structure}"].append(users(session, structure, true))
        progress(f"{scan.group}: {scan.name}")
    return figures


def row(name: str, found: Sequence[Mapping[str, float]]) -> list[str]:
    """One line of the table."""
    return [name, str(len(found)), *(spread([own[step] for own in found], 3) for step in found[0])]


def worse(found: Sequence[Mapping[str, float]]) -> list[str]:
    """The share of cases that a step made worse, and the largest loss."""
    off = {step: np.array([own[step] - own["start"] for own in found]) for step in found[0]}
    return [f"{(own < -WORSE).mean():.0%}, {min(own.min(), 0):.2f}" for own in off.values()]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--choose", action="store_true", help="training scans, to choose on")
    parser.add_argument(
        "--limit", type=int, default=6, metavar="N", help="heads, evenly spaced (%(default)s)"
    )
    arguments = parser.parse_args()
    model = load(localizer=arguments.localizer, device=arguments.device)
    figures = measure(model, arguments.ct, arguments.choose, arguments.limit)
    everything = [own for group in figures.values() for own in group]
    table = Table(
        title="Dice of corrected masks", box=SIMPLE_HEAD, caption="mean ± standard deviation over cases"
    )
    for head in ["", "n", *everything[0]]:
        table.add_column(head, justify="left" if not head else "right")
    for name, found in figures.items():
        table.add_row(*row(name, found))
    table.add_section()
    table.add_row(*row("all", everything))
    table.add_row(f"lost more than {WORSE}, largest loss", "", *worse(everything))
    answer([table], dict(figures), arguments.json)


if __name__ == "__main__":
    command(main)
