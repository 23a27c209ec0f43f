"""A dataset for nnU-Net (version 2) from an output folder: a few-shot start, to be corrected and trained on.

``OUTPUT/nnUNet_raw/Dataset001_<name>`` gets an image and a label map of every scan that is done. nnU-Net wants label
values without gaps and plain names of cases, so both may differ from those of the run; ``medlsam.json`` beside
``dataset.json`` says what became of each, and what was written, so that a further run can tell corrections by hand:
those stay.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import MedlsamError, UsageError
from medlsam.io.cases import case_of, read_case
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import sha256_of, suffix_of, write_json
from medlsam.volume import Image, LabelMap

RAW_FOLDER, RECORD_FILE = "nnUNet_raw", "medlsam.json"
_ID = "Dataset001"
#: Words that ``dataset.json`` keeps for itself.
_RESERVED = ("background", "ignore")


def write_nnunet(output: Path) -> list[str]:
    """Make the dataset of a folder that ``segment`` wrote, or bring it up to date.

    Images are hard links where the scan is a ``.nii.gz`` on the same disk that holds the values that were segmented;
    else they are written anew, in the geometry of the label map. Cases that somebody added to the dataset stay.

    Args:
        output: the folder, with ``run.json``, ``labels.json`` and a folder for each case.

    Returns:
        Warnings: renamed cases, changed values, label maps that were corrected by hand and therefore kept, and scans
        that cannot be read any more.

    Raises:
        UsageError: no such folder, or label maps that were corrected by hand mean other structures than this run's.
    """
    if not (output / "run.json").is_file() or not (output / "labels.json").is_file():
        raise UsageError(
            f"{output}: holds no run.json and labels.json; give a folder that `medlsam segment` wrote"
        )
    records = json.loads((output / "run.json").read_text(encoding="utf-8"))["cases"]
    names = {int(v): str(n) for v, n in json.loads((output / "labels.json").read_text("utf-8")).items()}
    table = {value: number for number, value in enumerate(sorted(names), start=1)}
    dataset = _folder(output)
    before = _record(dataset)
    labels = {_structure(names[value]): number for value, number in table.items()}
    _check_corrections(dataset, before, labels)
    _remove_leftovers(dataset)
    done = {case: record for case, record in records.items() if record["status"] == "done"}
    warnings = _told(names, table)
    known = {entry["case"]: name for name, entry in before["cases"].items()}
    cases: dict[str, Any] = {}
    for case, record in sorted(done.items()):
        name = known.get(case) or _free(_plain(case), {*cases, *known.values()})
        earlier = before["cases"].get(name)
        try:
            cases[name] = _put(dataset, name, output / case, record, table, earlier or {}, warnings)
        except (MedlsamError, OSError) as error:
            if earlier is None:
                warnings.append(f"{case}: not in {dataset.name}: {error}")
                _remove(dataset, name)
            else:
                warnings.append(f"{case}: left in {dataset.name} as it was: {error}")
                cases[name] = earlier
        else:
            cases[name]["case"] = case
    for name in before["cases"].keys() - cases.keys():
        if _corrected(dataset, name, before["cases"][name]):
            warnings.append(f"{name}: not done any more, but its label map was corrected by hand: it stays")
            cases[name] = before["cases"][name]
        else:
            _remove(dataset, name)
    if cases and all(entry["empty"] for entry in cases.values()):
        warnings.append(f"{RAW_FOLDER}: no label map holds a structure, and nnU-Net cannot plan from none")
    renamed = [f"{entry['case']} -> {name}" for name, entry in cases.items() if entry["case"] != name]
    if renamed:
        some = f"{', '.join(renamed[:5])}{', ...' if len(renamed) > 5 else ''}"
        warnings.append(f"{RAW_FOLDER}: {len(renamed)} cases have other names there: {some} ({RECORD_FILE})")
    images = dataset / "imagesTr"
    write_json(
        dataset / "dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0} | labels,
            "numTraining": len(list(images.glob("*_0000.nii.gz"))) if images.is_dir() else 0,
            "file_ending": ".nii.gz",
        },
    )
    write_json(
        dataset / RECORD_FILE,
        {
            "labels": labels,
            "values_of_the_run": {str(value): n for value, n in table.items()},
            "cases": cases,
        },
    )
    return warnings


def _folder(output: Path) -> Path:
    """The dataset of an earlier run, whatever the folder was called then: nnU-Net allows one of a number."""
    raw = output / RAW_FOLDER
    for found in sorted(raw.glob(f"{_ID}_*")):
        if (found / RECORD_FILE).is_file():
            return found
    return raw / f"{_ID}_{_plain(output.resolve().name)}"


def _record(dataset: Path) -> dict[str, Any]:
    path = dataset / RECORD_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"labels": {}, "cases": {}}


def _remove_leftovers(dataset: Path) -> None:
    """What a killed run left half-written, nnU-Net would take for cases."""
    for left in dataset.glob("*Tr/.tmp-*"):
        left.unlink()


def _told(names: Mapping[int, str], table: Mapping[int, int]) -> list[str]:
    moved = [f"{names[value]} {value} -> {number}" for value, number in table.items() if value != number]
    renamed = [f"{name} -> {_structure(name)}" for name in names.values() if _structure(name) != name]
    return [
        f"{RAW_FOLDER}: nnU-Net counts label values without gaps: {', '.join(moved)}" for _ in moved[:1]
    ] + [f"{RAW_FOLDER}: nnU-Net keeps these names for itself: {', '.join(renamed)}" for _ in renamed[:1]]


def _put(
    dataset: Path,
    name: str,
    case: Path,
    record: Mapping[str, Any],
    table: Mapping[int, int],
    before: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """Write a case's image and label map as far as they changed; returns its entry in the record."""
    source = Path(record["image"])
    state = _state(source)
    image = dataset / "imagesTr" / f"{name}_0000.nii.gz"
    if not image.is_file() or before.get("image_state") != state:
        scan = read_case(case_of(source, str(record.get("first_file") or "")))
        _put_image(source, scan, case / "segmentation.nii.gz", image)
    segmentation, target = case / "segmentation.nii.gz", _label_file(dataset, name)
    # As JSON holds it, to compare with the record.
    made_from = [sha256_of(segmentation), [list(pair) for pair in sorted(table.items())]]
    changed = before.get("made_from") != made_from
    written, empty = before.get("written"), before.get("empty", False)
    if _corrected(dataset, name, before):
        empty = False
        if changed:
            warnings.append(f"{case.name}: {target.name} was corrected by hand, so it is kept as it is")
    elif changed or not target.is_file():
        labels = read_label_map(segmentation)
        write_volume(LabelMap(_renumbered(labels.array, table), labels.grid), target)
        written, empty = sha256_of(target), not labels.array.any()
    return {
        "image": str(source),
        "image_state": state,
        "made_from": made_from,
        "written": written,
        "empty": bool(empty),
    }


def _put_image(source: Path, scan: Image, segmentation: Path, target: Path) -> None:
    """Link the scan's own file if nnU-Net reads in it what was segmented, else write the scan."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file() and suffix_of(source) == ".nii.gz" and _reads_alike(source, scan, segmentation):
        with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix=".tmp-") as folder:
            link = Path(folder) / target.name
            try:
                os.link(source.resolve(), link)
            except OSError:  # another disk, or one without links
                pass
            else:
                os.replace(link, target)
                return
    write_volume(scan, target)


def _reads_alike(source: Path, scan: Image, segmentation: Path) -> bool:
    """Whether SimpleITK, with which nnU-Net reads, sees the scan's values on the grid of the label map."""
    try:
        own, labels = sitk.ReadImage(str(source)), sitk.ImageFileReader()
        labels.SetFileName(str(segmentation))
        labels.ReadImageInformation()
    except RuntimeError:
        return False
    return (
        own.GetSize() == labels.GetSize()
        and own.GetNumberOfComponentsPerPixel() == 1
        and np.allclose(own.GetSpacing(), labels.GetSpacing(), atol=1e-5)
        and np.allclose(own.GetOrigin(), labels.GetOrigin(), atol=1e-3)
        and np.allclose(own.GetDirection(), labels.GetDirection(), atol=1e-5)
        and np.array_equal(sitk.GetArrayViewFromImage(own), scan.array)
    )


def _renumbered(array: NDArray[Any], table: Mapping[int, int]) -> NDArray[Any]:
    numbers = np.zeros(int(max(array.max(), *table)) + 1, np.uint16)
    for value, number in table.items():
        numbers[value] = number
    return np.asarray(numbers[array])


def _corrected(dataset: Path, name: str, before: Mapping[str, Any]) -> bool:
    """Whether a label map of the dataset is not as a run wrote it."""
    file = _label_file(dataset, name)
    return file.is_file() and sha256_of(file) != before.get("written")


def _check_corrections(dataset: Path, before: Mapping[str, Any], labels: Mapping[str, int]) -> None:
    if before["labels"] == labels:
        return
    corrected = [name for name, entry in before["cases"].items() if _corrected(dataset, name, entry)]
    if corrected:
        raise UsageError(
            f"{dataset}: {', '.join(corrected[:5])} were corrected by hand when the labels were "
            f"{before['labels']}, and now they are {dict(labels)}; move that dataset elsewhere first"
        )


def _remove(dataset: Path, name: str) -> None:
    (dataset / "imagesTr" / f"{name}_0000.nii.gz").unlink(missing_ok=True)
    _label_file(dataset, name).unlink(missing_ok=True)


def _label_file(dataset: Path, name: str) -> Path:
    return dataset / "labelsTr" / f"{name}.nii.gz"


def _state(source: Path) -> list[Any]:
    """Size and time of change; of a folder, how many files it holds."""
    stat = source.stat()
    return [len(list(source.rglob("*"))) if source.is_dir() else stat.st_size, stat.st_mtime_ns]


def _structure(name: str) -> str:
    return f"{name} structure" if name in _RESERVED else name


def _plain(name: str) -> str:
    """A name of ASCII letters, digits, points, dashes and underscores."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_name).strip("._") or "case"


def _free(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
