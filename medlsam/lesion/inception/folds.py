"""Folds of a cross-validation, by patient: scans of one person never lie on both sides.

``python -m medlsam.lesion.inception.folds DATASET FILE [--folds N] [--patients JSON]`` writes ``splits_final.json``,
which nnU-Net reads in the folder of a preprocessed dataset, and ``data.splits`` of our own training anywhere.

``medlsam data`` puts all labelled scans in ``imagesTr``, also those that the source keeps for a test, and names these
in ``splits.json``. No fold has them. ``--test-scans DIR`` links to them, for the prediction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medlsam.errors import MedlsamError, UsageError
from medlsam.io.folders import case_name
from medlsam.io.label_names import read_json, read_patients
from medlsam.io.labelled_scans import TemplateCase, find_templates
from medlsam.runtime.atomic_files import write_json

_log = logging.getLogger(__name__)
#: Where ``medlsam data`` writes the splits of the source.
SOURCE_SPLITS = "splits.json"
#: Name of nnU-Net's file of folds, in the folder of a preprocessed dataset.
SPLITS_FILE = "splits_final.json"


def make_folds(
    cases: Sequence[str], folds: int, patients: Mapping[str, str] | None = None, seed: int = 12345
) -> list[dict[str, list[str]]]:
    """Split cases into folds that hold about as many scans each.

    Args:
        cases: their names.
        folds: how many, two or more.
        patients: case to patient; a case that is not in it is a patient of its own, which a warning says.
        seed: of the order.

    Returns:
        For each fold the names under ``train`` and ``val``, as nnU-Net's ``splits_final.json`` has them.

    Raises:
        UsageError: fewer patients than folds, fewer than two folds, or patients of none of the cases.
    """
    unknown = sorted(set(cases) - set(patients)) if patients is not None else []
    if unknown and len(unknown) == len(set(cases)):
        raise UsageError(
            f"patients are named for none of the {len(unknown)} scans ({unknown[0]}, ...), but for "
            f"{next(iter(patients or ()), 'nobody')}; name the scans as the dataset does"
        )
    if unknown:
        _log.warning("no patient is named for %d scans (%s, ...)", len(unknown), unknown[0])
    groups: dict[str, list[str]] = {}
    for case in sorted(cases):
        groups.setdefault((patients or {}).get(case, case), []).append(case)
    if folds < 2 or len(groups) < folds:
        raise UsageError(
            f"{folds} folds of {len(groups)} patients: give two folds or more, and no more than patients"
        )
    order = [sorted(groups)[n] for n in np.random.default_rng(seed).permutation(len(groups))]
    parts: list[list[str]] = [[] for _ in range(folds)]
    # The largest patients first, each to the smallest fold.
    for patient in sorted(order, key=lambda patient: -len(groups[patient])):
        min(parts, key=len).extend(groups[patient])
    return [{"train": sorted(set(cases) - set(part)), "val": sorted(part)} for part in parts]


def kept_for_test(dataset: Path) -> set[str]:
    """Read which scans of a dataset the source keeps for a test; none without ``splits.json``.

    Raises:
        UsageError: the file cannot be read.
    """
    file = dataset / SOURCE_SPLITS
    if not file.is_file():
        return set()
    content = read_json(file, UsageError)
    if not isinstance(content, dict) or not isinstance(content.get("test", []), list):
        raise UsageError(f'{file}: expected {{"train": [...], "test": [...]}}')
    return {str(name) for name in content.get("test", [])}


def find_training_cases(dataset: Path) -> tuple[list[TemplateCase], dict[int, str]]:
    """Find the labelled scans of an nnU-Net dataset without those that are kept for a test.

    Returns:
        The cases by name, and value to lesion.

    Raises:
        TemplateError: see ``find_templates``.
        UsageError: all of them are kept for a test.
    """
    cases, names = find_templates(dataset)
    kept = kept_for_test(dataset)
    chosen = [case for case in cases if case.name not in kept]
    if not chosen:
        raise UsageError(
            f"{dataset / SOURCE_SPLITS}: all {len(cases)} scans are for the test, none to train on"
        )
    return chosen, names


def link_test_scans(dataset: Path, folder: Path) -> int:
    """Make ``FOLDER/images`` and ``FOLDER/labels`` with links to the scans that are kept for a test.

    Returns:
        How many scans.

    Raises:
        UsageError: the dataset has none.
    """
    kept = kept_for_test(dataset)
    found = {
        part: sorted(
            f for side in ("Tr", "Ts") for f in dataset.glob(f"{part}{side}/*") if case_name(f) in kept
        )
        for part in ("images", "labels")
    }
    if not found["images"]:
        raise UsageError(f"{dataset / SOURCE_SPLITS}: no scan of this dataset is kept for a test")
    for part, files in found.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in files:
            link = folder / part / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
    return len(found["images"])


def read_folds(path: Path, cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Read a file of folds.

    Args:
        path: nnU-Net's ``splits_final.json``.
        cases: those of the dataset that are not kept for a test.

    Raises:
        UsageError: the file is not of that form, names a case that the dataset lacks, or has a fold with nothing on
            one side or one case on both.
    """
    content = read_json(path, UsageError)
    try:
        folds = [{side: [str(name) for name in fold[side]] for side in ("train", "val")} for fold in content]
    except (TypeError, KeyError) as error:
        raise UsageError(f'{path}: expected a list of {{"train": [...], "val": [...]}}') from error
    unknown = sorted({name for fold in folds for side in fold.values() for name in side} - set(cases))
    if unknown:
        raise UsageError(
            f"{path}: case {unknown[0]} is not in the dataset, or kept for its test ({len(unknown)} such); "
            "write the folds anew"
        )
    for number, fold in enumerate(folds):
        if not fold["train"] or not fold["val"]:
            raise UsageError(
                f"{path}: fold {number} has {len(fold['train'])} cases to train on and {len(fold['val'])} to validate; "
                "give both sides some"
            )
        both = sorted(set(fold["train"]) & set(fold["val"]))
        if both:
            raise UsageError(
                f"{path}: fold {number} trains on {both[0]} and validates on it; take it from one side"
            )
    return folds


def write_folds(
    dataset: Path, output: Path, folds: int = 5, patients: Mapping[str, str] | Path | None = None
) -> list[dict[str, list[str]]]:
    """Write the folds of an nnU-Net dataset where nnU-Net reads them; scans that are kept for a test are in none.

    Args:
        dataset: with ``imagesTr``.
        output: ``nnUNet_preprocessed/<dataset>/splits_final.json``, or any file for ``data.splits``.
        folds: how many.
        patients: case to patient, or a file; see ``io.label_names.read_patients``.

    Raises:
        UsageError: see ``make_folds``.
    """
    cases, _ = find_training_cases(dataset)
    if isinstance(patients, Path):
        patients = read_patients(patients)
    made = make_folds([case.name for case in cases], folds, patients)
    write_json(output, made)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of this module."""
    import argparse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="nnU-Net dataset")
    parser.add_argument("output", type=Path, help="the file to write")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--patients", type=Path, help="JSON of case to patient, or cases.json")
    parser.add_argument(
        "--test-scans", type=Path, metavar="DIR", help="link there to what is kept for a test"
    )
    given = parser.parse_args(arguments)
    try:
        made = write_folds(given.dataset, given.output, given.folds, given.patients)
        if given.test_scans is not None:
            count = link_test_scans(given.dataset, given.test_scans)
            print(f"linked {given.test_scans}: {count} scans to test on")
    except MedlsamError as error:
        raise SystemExit(f"error: {error}") from None
    print(
        f"wrote {given.output}: {', '.join(str(len(fold['val'])) for fold in made)} scans to validate in each fold"
    )


if __name__ == "__main__":
    main()
