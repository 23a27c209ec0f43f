"""Which scans train ``sam-tiny``, of whom and of which part of the body, and which labels of theirs.

The list of what never trains is short and is kept here alone: what is reported on (``val`` and the templates of
OpenKBP, the queries of ``bodyval``), what may not ship (``nsclc_lung1_001``, ``lesions``), and the labels of organs
that ``bodyval`` reports on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medlsam.errors import UsageError

#: Evaluate-only scans, and the query patients of ``bodyval``, by the names that their files have anywhere.
NEVER = frozenset({"nsclc_lung1_001", "hcc_002_a1", "crlm_1006", "cptac_pda_c3l_00189"})
#: Organs that ``bodyval`` reports on; labels of theirs in real scans train nothing, so that they stay unseen.
REPORTED = frozenset({"kidney_left", "kidney_right", "spleen", "liver"})
#: Cases at the end of the pretrain split that validate.
HELD_OUT = 16

#: Several scans of one patient begin alike.
_PATIENT = re.compile(r"^(hcc_\d+|ctc_\d+|acrin_flt_breast_\d+|elastix_lung)")
#: Regions of the body that a scan shows, where it is not of OpenKBP (``head-neck``).
_REGIONS: Mapping[str, tuple[str, ...]] = {
    "acrin_flt_breast_001_a": ("head-neck", "chest"),
    "acrin_flt_breast_001_b": ("abdomen", "pelvis"),
    "acrin_nsclc_042": ("chest", "abdomen"),
    "ctc_0518_supine_low": ("abdomen", "pelvis"),
    "rider_0109": ("chest", "abdomen"),
    "tcga_de_a4ma_wb": ("chest", "abdomen", "pelvis"),
    "ts_example_ct": ("abdomen", "pelvis"),
    "vhf_pelvis_900": ("pelvis",),
}
_BEGINS: Mapping[str, tuple[str, ...]] = {
    "crlm_": ("abdomen",),
    "ctc_": ("abdomen",),
    "hcc_": ("abdomen",),
    "tcga_bc_": ("abdomen",),
    "ts_example_dicom": ("abdomen",),
}


@dataclass(frozen=True)
class SourceScan:
    """A scan that may train.

    Attributes:
        name: of the case.
        group: ``openkbp``, ``body`` or ``body2``.
        image: file.
        labels: file, or None.
        names: label value to structure, without what never trains.
        held_out: whether it validates.
    """

    name: str
    group: str
    image: Path
    labels: Path | None = None
    names: dict[int, str] = field(default_factory=dict)
    held_out: bool = False


def scans_to_train(ct: Path) -> Iterator[SourceScan]:
    """List the scans that may train, and those of them that validate.

    Args:
        ct: folder with ``openkbp/`` and, where they are there, ``body/`` and ``body2/``.

    Raises:
        UsageError: a split file names a case for training that it also keeps for reporting.
    """
    yield from _openkbp(ct / "openkbp")
    for group in ("body", "body2"):
        if (ct / group).is_dir():
            yield from _folders(ct / group)


def training_cases(ct: Path) -> list[str]:
    """Name the cases of OpenKBP that train: the pretrain split without those that validate."""
    return [scan.name for scan in _openkbp(ct / "openkbp") if not scan.held_out]


def patient_of(name: str) -> str:
    """Name the patient of a scan; scans of one patient have the same."""
    found = _PATIENT.match(name)
    return found.group() if found else name


def regions_of(name: str, group: str) -> tuple[str, ...]:
    """Name the regions of the body that a scan shows: of ``head-neck``, ``chest``, ``abdomen`` and ``pelvis``."""
    if group == "openkbp":
        return ("head-neck",)
    if name in _REGIONS:
        return _REGIONS[name]
    return next((regions for start, regions in _BEGINS.items() if name.startswith(start)), ("chest",))


def _openkbp(root: Path) -> Iterator[SourceScan]:
    split = json.loads((root / "splits.json").read_text(encoding="utf-8"))
    kept = {*split["val"], *split["templates"]}
    if both := sorted(kept & set(split["pretrain"])):
        raise UsageError(
            f"{root / 'splits.json'}: {both[0]} is in pretrain and also in val or templates; take it out of pretrain"
        )
    table = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"]
    names = {int(value): name for name, value in table.items() if int(value) > 0}
    for name in split["pretrain"]:
        yield SourceScan(
            name,
            "openkbp",
            root / f"imagesTr/{name}_0000.nii.gz",
            root / f"labelsTr/{name}.nii.gz",
            names,
            name in split["pretrain"][-HELD_OUT:],
        )


def _folders(root: Path) -> Iterator[SourceScan]:
    for path in sorted(root.iterdir()):
        image, labels = path / "image.nii.gz", path / "labels.nii.gz"
        if path.name in NEVER or not image.exists() or _use(path) != "train":
            continue
        if not labels.exists():
            yield SourceScan(path.name, root.name, image)
            continue
        table = json.loads((path / "labels.json").read_text(encoding="utf-8"))
        names = {int(v): k for k, v in table.items() if int(v) > 0 and k not in REPORTED}
        yield SourceScan(path.name, root.name, image, labels, names)


def _use(folder: Path) -> str:
    """Read what a scan may be used for; all may train where nothing is said."""
    told = folder / "source.json"
    return str(json.loads(told.read_text(encoding="utf-8")).get("use", "train")) if told.exists() else "train"
