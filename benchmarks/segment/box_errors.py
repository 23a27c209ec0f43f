"""How far located boxes are off: the errors that the segmenter is trained to live with.

    python benchmarks/segment/box_errors.py [--limit N] [--write]

Head-neck scans that train the segmenter (the `pretrain` split without the cases at its end that validate), and the
whole lungs of the train scans of `body/`, are located with templates drawn from other scans of the same. Prints the
distribution of the faces' outward errors by axis; with `--write` every located box's six errors go to
`configs/box_errors.json`, which `medlsam.segment.sam_tiny.train` draws from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce, answer, command, evenly, options, progress
from benchmarks.localize.body import lungs
from medlsam.evaluation.references import find_references
from medlsam.geometry import mask_box
from medlsam.io.read import read_image
from medlsam.localize.build_templates import build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.runtime.atomic_files import write_json
from medlsam.segment.sam_tiny.train_sources import NEVER, training_cases

TARGET = Path("configs/box_errors.json")
TEMPLATES, SETS, CANDIDATES = 5, 3, 13
OUTWARD = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])


def head_neck(localizer: SeenOnce, ct: Path, limit: int) -> list[np.ndarray]:
    """(6,) outward errors of every located structure, mm."""
    folder = ct / "openkbp"
    references = find_references(folder / "labelsTr")
    complete = {name: set(entry["complete"]) for name, entry in references.cases.items()}
    listed = training_cases(ct)
    able = [c for c in listed if complete[c] == set(references.names.values())][:CANDIDATES]
    found, names = choose_templates(folder, able)
    others = {s.name: s for s in read_templates(found, names)}
    generator = np.random.default_rng(0)
    sets = []
    for _ in range(SETS):
        chosen = [str(name) for name in generator.choice(list(others), TEMPLATES, replace=False)]
        sets.append((chosen, build_templates(localizer, [others[c] for c in chosen], names)))  # type: ignore[arg-type]
    localizer.forget()
    errors = []
    for number, case in enumerate(evenly(listed, limit)):
        chosen, templates = sets[number % SETS]
        if case in chosen:
            continue
        image = read_image(folder / "imagesTr" / f"{case}_0000.nii.gz")
        reference = references.read(case, image)
        located = locate(localizer.embed(image), templates)
        for structure in sorted(complete[case] & set(reference.values)):
            box = located[structure].box
            if box is not None:
                errors.append(OUTWARD * (box.faces - reference.box(structure).faces))
        localizer.forget()
        progress(case)
    return errors


def chest(localizer: SeenOnce, ct: Path) -> list[np.ndarray]:
    """The same of whole lungs, without the scan that is evaluated only."""
    trained = [name for name in (*lungs.CHEST, *lungs.ONE_LUNG) if name not in NEVER]
    found, names = choose_templates(ct / "body", trained)
    scans = {s.name: s for s in read_templates(found, names)}
    whole = lungs.whole_structures(list(scans.values()), names)
    values = {name: value for value, name in names.items()}
    errors = []
    for name, template in scans.items():
        for structure in sorted(whole[name]):
            assert template.labels is not None
            truth = mask_box(template.labels.array == values[structure], template.labels.grid)
            for pair in lungs.template_sets(name, structure, whole, 2, 0):
                group = [scans[p] for p in pair]
                templates = build_templates(localizer, group, names, organs=[structure])  # type: ignore[arg-type]
                box = locate(localizer.embed(template.image), templates)[structure].box
                if box is not None:
                    errors.append(OUTWARD * (box.faces - truth.faces))
    return errors


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--limit",
        type=int,
        default=60,
        help="so many head-neck scans, evenly spaced; 0 for all (%(default)s)",
    )
    parser.add_argument("--write", action="store_true", help=f"store the errors in {TARGET}")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    errors = np.array(head_neck(localizer, arguments.ct, arguments.limit) + chest(localizer, arguments.ct))
    table = Table(title=f"outward errors of {len(errors)} located boxes, mm", box=SIMPLE_HEAD)
    for head in ("face", "mean", "10 %", "50 %", "90 %"):
        table.add_column(head, justify="right")
    for face, column in zip(("x-", "x+", "y-", "y+", "z-", "z+"), errors.T, strict=True):
        table.add_row(face, *(f"{v:+.1f}" for v in (column.mean(), *np.quantile(column, (0.1, 0.5, 0.9)))))
    document = {
        "about": "outward errors, mm, of located faces x-, x+, y-, y+, z-, z+ (benchmarks/segment/box_errors.py)",
        "localizer": localizer.signature,
        "errors_mm": [[round(float(v), 1) for v in row] for row in errors],
    }
    answer([table], document, arguments.json)
    if arguments.write:
        write_json(TARGET, document)
        progress(f"wrote {TARGET}")


if __name__ == "__main__":
    command(main)
