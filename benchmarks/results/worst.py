"""Draw the worst answers of one or two runs of `medlsam evaluate`: pictures of wrong boxes teach more than means.

    medlsam evaluate ... --output before ; medlsam evaluate ... --output after
    python benchmarks/results/worst.py before [after] --names FILE --images DIR --labels DIR --output DIR [--count 10]

One picture for each answer and run: three planes with the mask, the located box and the reference. `--names` is the
`dataset.json` or `labels.json` of the templates. The worst are those of the first run by the Dice of the located mask;
`--count 0` draws all. Prints what was drawn: Dice located, in the true box and in true slices, IoU of the reported box
and its wall distance, of each run. Then the same of all answers: mean ± standard deviation of each run, and of the last
run minus the first the paired mean ± standard error. A second for each picture.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.errors import UsageError
from medlsam.evaluation.references import find_references
from medlsam.export.figures import draw_segmentation, png
from medlsam.io.cases import find_cases, read_case
from medlsam.io.label_names import read_label_names
from medlsam.io.labels import read_label_map
from medlsam.results import Localization, Segmentation
from medlsam.volume import Image, LabelMap

#: Columns of cases.csv that are printed.
FIGURES = ("dice_located", "dice_oracle_box", "dice_oracle_slices", "iou", "wall_distance_mm")
Rows = dict[tuple[str, str], dict[str, str]]


def rows_of(run: Path) -> Rows:
    """Read ``cases.csv`` of a run: (case, structure) to its row.

    Raises:
        UsageError: the folder has no such table.
    """
    file = run / "cases.csv"
    if not file.is_file():
        raise UsageError(f"{file}: not there; give the --output folder of `medlsam evaluate`")
    with file.open(encoding="utf-8", newline="") as lines:
        return {(row["case"], row["organ"]): row for row in csv.DictReader(lines)}


def worst(rows: Rows, count: int) -> list[tuple[str, str]]:
    """Name the answers with the lowest Dice, worst first; all of them where ``count`` is 0."""
    order = sorted(rows, key=lambda key: float(rows[key]["dice_located"] or 0))
    return order[:count] if count else order


def draw(run: Path, case: str, structure: str, names: dict[int, str], image: Image, mask: LabelMap) -> bytes:
    """Draw one answer of a run as a PNG; ``mask`` is the reference, 0 or 1."""
    value = next(value for value, name in names.items() if name == structure)
    found = Segmentation(
        case,
        read_label_map(run / case / "segmentation.nii.gz"),
        names,
        Localization.from_dict(json.loads((run / case / "localization.json").read_text(encoding="utf-8"))),
        image=image,
    )
    reference = LabelMap((mask.array * value).astype(np.uint16), mask.grid)
    return png(draw_segmentation(found, organs=[structure], reference=reference))


def over_all(rows: list[Rows], names: list[str]) -> Table:
    """Compare the runs over all answers that have a value in each."""
    table = Table("all answers", "n", *names, "last - first", title="over all answers, drawn or not")
    for figure in FIGURES:
        common = [key for key in rows[0] if all(own.get(key, {}).get(figure) for own in rows)]
        values = np.array([[float(own[key][figure]) for key in common] for own in rows])
        if values.size:
            change = values[-1] - values[0]
            error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else 0.0
            means = [f"{run.mean():.3f} ± {run.std(ddof=1) if len(run) > 1 else 0.0:.3f}" for run in values]
            table.add_row(figure, str(len(common)), *means, f"{change.mean():+.3f} ± {error:.3f}")
    return table


def main() -> None:
    """Draw and print."""
    parser = options(__doc__, real=False)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--names", type=Path, required=True, metavar="FILE")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=10)
    given = parser.parse_args()
    names, references = read_label_names(given.names), find_references(given.labels)
    images = {case.name: case for case in find_cases(given.images)}
    rows = [rows_of(run) for run in given.runs]
    given.output.mkdir(parents=True, exist_ok=True)
    table = Table("case", "structure", *(f"{name} {run.name}" for name in FIGURES for run in given.runs))
    document = []
    for place, (case, structure) in enumerate(worst(rows[0], given.count)):
        image = read_case(images[case])
        reference = references.read(case)
        mask = LabelMap(reference.labels.array == reference.values[structure], reference.labels.grid)
        for run in given.runs:
            picture = draw(run, case, structure, names, image, mask)
            (given.output / f"{place:02d}_{case}_{structure}_{run.name}.png").write_bytes(picture)
        figures = [own[case, structure][name] for name in FIGURES for own in rows]
        table.add_row(case, structure, *figures)
        document.append({"case": case, "structure": structure, "figures": figures})
    answer([table, over_all(rows, [run.name for run in given.runs])], {"answers": document}, given.json)


if __name__ == "__main__":
    command(main)
