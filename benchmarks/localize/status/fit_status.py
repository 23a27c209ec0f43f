"""Fit the constants of status and confidence (`medlsam/localize/confidence/status.json`) and print what they are worth.

    python benchmarks/localize/status/fit_status.py [--cases FILE.json:key] [--limit N] [--phantoms N] [--write]

Presence: a logistic model of how far an answer is from the usual, on structures that are there and that are not, in
real scans and in phantoms of all regions; an answer that is centimetres off counts as one that is not. Its weights are
non-negative, since more evidence cannot speak against a structure. Overlap: the same for the IoU of the boxes of
structures that are there. The printed shares and correlations are cross-validated: the scan asked about is left out of
the fit. Below them how often a face lies within its margin, by number of templates.

The default heads are of the `pretrain` split, the bodies of `body/`, `body2/` and the template patients of `bodyval/`
(``bodies``). The answers are kept in `.pool/status/` by localizer and options, and
asked again with `--again`; `--write` stores the constants. Asking takes some minutes on two free cores, fitting
seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.optimize import minimize
from scipy.stats import spearmanr

from benchmarks.common import SeenOnce, answer, command, listed_cases, options, progress
from benchmarks.localize.status import bodies
from benchmarks.localize.status.rows import Collected, Row, Trial, collect
from medlsam.io.label_names import read_case_list
from medlsam.localize.confidence import leave_one_out as calibrate
from medlsam.localize.confidence import status
from medlsam.localize.localizer import load_localizer
from medlsam.runtime.atomic_files import write_json

TARGET = Path(status.__file__).with_suffix(".json")
CACHE = Path(".pool/status")
PRESENCE = (
    "similarity", "likeness", "surface", "contrast", "support", "relative", "inside", "match", "position", "fit",
)  # fmt: skip
OVERLAP = ("overlap", "size", *PRESENCE, "disagreement")
#: Present structures that may be called missing, and at least uncertain, in cross-validation; every group counts the
#: same.
MISSING_SHARE, UNCERTAIN_SHARE = 0.015, 0.15
#: A box whose middle is this far off, mm, and that overlaps the true one by less than this, shows something else: such
#: an answer counts against presence. (A contour that ends elsewhere along a spinal cord is far off, but on it.)
MISPLACED_MM, MISPLACED_IOU = 25.0, 0.25
FOLDS = 8
#: Phantoms from this seed on: others than those of other benchmarks.
FIRST_PERSON = 301

Array = NDArray[np.float64]


def matrix(rows: Sequence[Row], names: Sequence[str], usual: dict[str, float]) -> Array:
    """(rows, names) signs; answers of one template are compared with the usual of such answers."""
    own = {f"usual_{name}": value for name, value in usual.items()}
    found = [
        status.features({**r.details, **own} if r.templates == 1 or _alone(r) else r.details) for r in rows
    ]
    return np.array([[signs[name] for name in names] for signs in found])


def _alone(row: Row) -> bool:
    return "disagreement_mm" not in row.details


def fit(signs: Array, target: Array, weight: Array, ridge: float, signed: bool) -> Array:
    """(1 + F,) bias and weights of a logistic model of targets 0 to 1; weights below 0 only where ``signed``."""
    scale = signs.std(axis=0) + 1e-6
    scaled, share = signs / scale, weight / weight.sum()

    def loss(values: Array) -> tuple[float, Array]:
        probability = 1 / (1 + np.exp(-np.clip(values[0] + scaled @ values[1:], -30, 30)))
        entropy = -target * np.log(probability + 1e-9) - (1 - target) * np.log(1 - probability + 1e-9)
        slope = share * (probability - target)
        gradient = np.concatenate([[slope.sum()], scaled.T @ slope + 2 * ridge * values[1:]])
        return float(share @ entropy + ridge * (values[1:] ** 2).sum()), gradient

    bounds = [(None, None)] + [(None if signed else 0.0, None)] * signs.shape[1]
    found: Array = minimize(loss, np.zeros(1 + signs.shape[1]), jac=True, bounds=bounds).x
    found[1:] /= scale
    return found


def predict(values: Array, signs: Array) -> Array:
    """(rows,) probabilities."""
    result: Array = 1 / (1 + np.exp(-np.clip(values[0] + signs @ values[1:], -30, 30)))
    return result


def left_out(
    rows: Sequence[Row], signs: Array, target: Array, weight: Array, ridge: float, signed: bool
) -> Array:
    """(rows,) probabilities, each from a fit without the scans of its fold (crops and removals go with their scan)."""
    scans = [row.scan.split(",")[0].split(" without")[0] for row in rows]
    order = {scan: number for number, scan in enumerate(sorted(set(scans)))}
    fold = np.array([order[scan] for scan in scans]) % FOLDS
    result = np.zeros(len(rows))
    for number in range(FOLDS):
        held, rest = fold == number, fold != number
        values = fit(signs[rest], target[rest], weight[rest], ridge, signed)
        result[held] = predict(values, signs[held])
    return result


def judged(rows: Sequence[Row]) -> list[Row]:
    """The rows, with answers that show something else than the structure told apart as ``misplaced``."""
    result = []
    for row in rows:
        if row.truth == "present" and row.iou is not None and row.error_mm:
            off = np.linalg.norm(np.reshape(row.error_mm, (3, 2)).mean(axis=1))
            if off > MISPLACED_MM and row.iou < MISPLACED_IOU:
                row = replace(row, truth="misplaced")
        result.append(row)
    return result


def group_weights(rows: Sequence[Row]) -> Array:
    """(rows,) weights: present counts the same as absent or misplaced, and so do the groups within each."""
    keys = [(row.truth == "present", f"{row.truth}: {row.group}") for row in rows]
    counts, groups = Counter(keys), Counter(there for there, _ in set(keys))
    return np.array([1 / (counts[key] * groups[key[0]]) for key in keys])


def quantile(values: Array, weight: Array, share: float) -> float:
    """The value below which a share of the weight lies."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][np.searchsorted(below, share)])


def fit_presence(
    rows: Sequence[Row], usual: dict[str, float]
) -> tuple[dict[str, float], float, float, Table]:
    """Weights, the two thresholds, and the table of what is called absent by group."""
    used = [row for row in rows if row.truth in ("absent", "present", "misplaced")]
    signs, weight = matrix(used, PRESENCE, usual), group_weights(used)
    there = np.array([row.truth == "present" for row in used])
    held = left_out(used, signs, there.astype(float), weight, 0.003, signed=False)
    missing, uncertain = (quantile(held[there], weight[there], q) for q in (MISSING_SHARE, UNCERTAIN_SHARE))
    table = Table(
        title=f"presence, cross-validated; missing below {missing:.3f}, uncertain below {uncertain:.3f}",
        box=SIMPLE_HEAD,
    )
    for head in ("truth: group", "n", "scans", "missing %", "uncertain %"):
        table.add_column(head, justify="left" if head == "truth: group" else "right")
    in_all = {("absent", ""), ("misplaced", ""), ("present", "")}
    for key in sorted({(row.truth, row.group) for row in used} | in_all):
        own = np.array([row.truth == key[0] and key[1] in ("", row.group) for row in used])
        if not own.any():
            continue
        scans = {row.scan for row, chosen in zip(used, own, strict=True) if chosen}
        shares = (held[own] < missing).mean(), ((held[own] >= missing) & (held[own] < uncertain)).mean()
        table.add_row(
            f"{key[0]}: {key[1] or 'in all'}",
            str(own.sum()),
            str(len(scans)),
            *(f"{100 * s:.1f}" for s in shares),
        )
    values = fit(signs, there.astype(float), weight, 0.003, signed=False)
    return dict(zip(("bias", *PRESENCE), values.tolist(), strict=True)), missing, uncertain, table


def fit_overlap(rows: Sequence[Row], usual: dict[str, float]) -> tuple[dict[str, float], Table]:
    """Weights, and the table of rank correlations of the expected with the true IoU."""
    used = [row for row in rows if row.iou is not None]
    signs, iou = matrix(used, OVERLAP, usual), np.array([row.iou for row in used], dtype=float)
    weight = np.ones(len(used))
    held = left_out(used, signs, iou, weight, 0.002, signed=True)
    table = Table(
        title="expected overlap, cross-validated: Spearman's rho with the true IoU", box=SIMPLE_HEAD
    )
    for head in ("templates", "n", "in all", "within structures", "usual overlap alone"):
        table.add_column(head, justify="right")
    for size in sorted({row.templates for row in used}, reverse=True):
        own = np.array([row.templates == size for row in used])
        structures = sorted({row.structure for row in used})
        within = []
        for structure in structures:
            both = own & np.array([row.structure == structure for row in used])
            within.append(spearmanr(held[both], iou[both]).statistic)
        alone = spearmanr(signs[own, 0], iou[own]).statistic if np.ptp(signs[own, 0]) > 0 else float("nan")
        rho = spearmanr(held[own], iou[own]).statistic
        table.add_row(str(size), str(own.sum()), f"{rho:.2f}", f"{np.mean(within):.2f}", f"{alone:.2f}")
    values = fit(signs, iou, weight, 0.002, signed=True)
    return dict(zip(("bias", *OVERLAP), values.tolist(), strict=True)), table


def margin_table(trials: Sequence[Trial]) -> Table:
    """How many faces lie within the margins that leave-one-out gives, and how wide those are."""
    table = Table(title="faces within their margin (promised: 90 %), mean margin", box=SIMPLE_HEAD)
    worths = ((0.01, 0.01), (1.0, 1.0), (4.0, 1.0), (4.0, 4.0), (8.0, 4.0), (100.0, 4.0))
    table.add_column("templates", justify="right")
    for structure, file in worths:
        table.add_column(f"worth {structure:g}, {file:g}", justify="right")
    kept = calibrate.STRUCTURE_WORTH, calibrate.FILE_WORTH
    for size in sorted({t.templates for t in trials if t.templates > 1}, reverse=True):
        cells = []
        for calibrate.STRUCTURE_WORTH, calibrate.FILE_WORTH in worths:
            shares, widths = [], []
            for trial in (t for t in trials if t.templates == size):
                # A structure that only one of the templates has was never left out.
                names = {**trial.left_out, **trial.error_mm}
                known = {o: np.array(trial.left_out.get(o, [])).reshape(-1, 6) for o in names}
                found = calibrate.margins(known)
                within = [np.abs(np.array(e)) <= found[o] for o, e in trial.error_mm.items()]
                shares.append(np.concatenate(within).mean())
                widths += [w.mean() for w in found.values()]
            cells.append(f"{100 * np.mean(shares):.1f} %, {np.mean(widths):.1f} mm")
        table.add_row(str(size), *cells)
    calibrate.STRUCTURE_WORTH, calibrate.FILE_WORTH = kept
    return table


def defaults(rows: Sequence[Row]) -> dict[str, object]:
    """What holds where nothing can be calibrated: the usual of present structures located with one template."""
    alone = [row for row in rows if row.templates == 1 and row.error_mm]
    errors = np.abs([row.error_mm for row in alone])
    names = (*status.BY_DIFFERENCE, *status.BY_RATIO)
    known = {n: [r.details[n] for r in alone if n in r.details] for n in names}
    return {
        "margin_mm": round(float(np.quantile(errors, calibrate.MARGIN_LEVEL)), 1),
        "error_mm": round(float(errors.mean()), 1),
        "iou": round(float(np.mean([row.iou for row in alone])), 3),
        "usual": {name: round(float(np.median(values)), 4) for name, values in known.items() if values},
    }


def answers(arguments: object, localizer: SeenOnce, spec: str) -> Collected:
    """The answers to fit on, from the cache where the same were asked before."""
    limit, phantoms, ct = arguments.limit, arguments.phantoms, arguments.ct  # type: ignore[attr-defined]
    asked = json.dumps([localizer.signature, spec, limit, phantoms])
    path = CACHE / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
    if path.is_file() and not arguments.again:  # type: ignore[attr-defined]
        progress(f"answers of before: {path}")
        return Collected.load(path)
    cases = listed_cases(ct / "openkbp" / "imagesTr", spec, limit)
    people = range(FIRST_PERSON, FIRST_PERSON + phantoms)
    collected = collect(localizer, ct, cases, read_case_list(spec), people, seed=0)
    located, trials = bodies.located(localizer, ct, seed=0)
    answers = bodies.elsewhere(localizer, ct, [case.path for case in cases])
    answers += bodies.phantoms(localizer, people)
    rows = [Row(a.group, a.scan, a.structure, a.truth, dict(a.details)) for a in answers]
    collected = Collected(collected.rows + located + rows, collected.trials + trials)
    path.parent.mkdir(parents=True, exist_ok=True)
    collected.save(path)
    return collected


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cases", help="head-neck scans (openkbp/splits.json:pretrain)")
    parser.add_argument("--limit", type=int, default=16, help="so many of them, evenly spaced; 0 for all")
    parser.add_argument("--phantoms", type=int, default=2, help="people of whom phantoms are made")
    parser.add_argument("--write", action="store_true", help=f"store the constants in {TARGET.name}")
    parser.add_argument("--again", action="store_true", help="ask again, whatever is kept")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    spec = arguments.cases or f"{arguments.ct / 'openkbp'}/splits.json:pretrain"
    collected = answers(arguments, localizer, spec)
    known = defaults(collected.rows)
    usual: dict[str, float] = known["usual"]  # type: ignore[assignment]
    presence, missing, uncertain, first = fit_presence(judged(collected.rows), usual)
    overlap, second = fit_overlap(collected.rows, usual)
    model = {
        "presence": {name: round(v, 4) for name, v in presence.items()},
        "overlap": {name: round(v, 4) for name, v in overlap.items()},
        "missing_below": round(missing, 4),
        "uncertain_below": round(uncertain, 4),
        **known,
    }
    about = {
        "fitted_by": "benchmarks/localize/status/fit_status.py",
        "localizer": localizer.signature,
        "answers": len(collected.rows),
        "cases": spec.rsplit("/", 1)[-1],
        "limit": arguments.limit,
        "phantoms": arguments.phantoms,
    }
    document = {"about": about, "model": model}
    answer([first, second, margin_table(collected.trials)], document, arguments.json)
    print(json.dumps(model, indent=1))
    if arguments.write:
        write_json(TARGET, document)
        progress(f"wrote {TARGET}")


if __name__ == "__main__":
    command(main)
