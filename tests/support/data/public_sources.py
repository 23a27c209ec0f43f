"""Small samples of public data sets, each in the layout of its source, with what has to come out of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.data.adapters import amos, btcv, openkbp, word
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.volume.volume import Image, LabelMap
from tests.support.data.dicom_files import write_ct

#: Turned about all three axes, as scans with a tilted head are.
OBLIQUE = (
    0.978147601,
    -0.207911691,
    0.0,
    0.203368322,
    0.956772729,
    -0.207911691,
    0.043227271,
    0.203368322,
    0.978147601,
)
GRID = Grid((12, 20, 24), (2.0, 2.0, 3.0), (-20.0, 10.0, 300.0), OBLIQUE)
MakeCt = Callable[..., Image]


@dataclass
class Expected:
    """A case that has to come out: its scan, the mask of each structure, and its split."""

    image: Image
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    split: str = "train"
    labelled: bool = True


Sample = dict[str, Expected]


def blocks(shape: tuple[int, int, int], *structures: str) -> dict[str, NDArray[np.bool_]]:
    """A block for each structure, all apart; the first touches the first slice."""
    masks = {}
    for number, name in enumerate(structures):
        mask = np.zeros(shape, bool)
        start = 2 + 4 * number
        mask[(0 if number == 0 else 3) : 7, 4:9, start : start + 3] = True
        masks[name] = mask
    return masks


def label_map(masks: dict[str, NDArray[np.bool_]], values: dict[str, int], grid: Grid) -> LabelMap:
    array = np.zeros(grid.shape_zyx, np.uint8)
    for name, mask in masks.items():
        array[mask] = values[name]
    return LabelMap(array, grid)


def totalsegmentator(folder: Path, make_ct: MakeCt) -> Sample:
    """Masks, an empty one, and one that the first scan does not have."""
    first = Expected(make_ct(GRID), blocks(GRID.shape_zyx, "liver", "spleen"), "train")
    other = Grid((10, 16, 18), (1.5, 1.5, 1.5), (1.0, 2.0, 3.0))
    second = Expected(make_ct(other, 1), blocks(other.shape_zyx, "liver", "aorta"), "test")
    for name, case in (("s0000", first), ("s0011", second)):
        write_volume(case.image, folder / name / "ct.nii.gz")
        for structure, mask in case.masks.items():
            file = folder / name / "segmentations" / f"{structure}.nii.gz"
            write_volume(LabelMap(mask.astype(np.uint8), case.image.grid), file)
    write_volume(
        LabelMap(np.zeros(GRID.shape_zyx, np.uint8), GRID),
        folder / "s0000" / "segmentations" / "aorta.nii.gz",
    )
    (folder / "meta.csv").write_text(
        "image_id;age;split\ns0000;60;train\ns0011;;test\n", encoding="utf-8-sig"
    )
    return {"s0000": first, "s0011": second}


def pairs_of(
    folder: Path, make_ct: MakeCt, rows: list[tuple[str, str, str, str]], structures: tuple[str, ...]
) -> Sample:
    """Rows are case, split, path of the scan and path of the label map (empty: none)."""
    values = {name: value for value, name in enumerate(structures, start=1)}
    sample: Sample = {}
    for seed, (case, split, scan, labels) in enumerate(rows):
        image = make_ct(GRID, seed)
        masks = blocks(GRID.shape_zyx, *structures[seed : seed + 4]) if labels else {}
        write_volume(image, folder / scan)
        if labels:
            write_volume(label_map(masks, values, GRID), folder / labels)
        sample[case] = Expected(image, masks, split, bool(labels))
    return sample


def amos_sample(folder: Path, make_ct: MakeCt) -> Sample:
    """Training, validation and test scans, and one MR scan."""
    rows = [
        ("amos_0001", "train", "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz"),
        ("amos_0008", "val", "imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz"),
        ("amos_0499", "test", "imagesTs/amos_0499.nii.gz", ""),
        ("amos_0507", "train", "imagesTr/amos_0507.nii.gz", "labelsTr/amos_0507.nii.gz"),
    ]
    sample = pairs_of(folder, make_ct, rows, amos.STRUCTURES)
    del sample["amos_0507"]
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "8": "arota"}}))
    return sample


def word_sample(folder: Path, make_ct: MakeCt) -> Sample:
    rows = [
        ("word_0002", "train", "imagesTr/word_0002.nii.gz", "labelsTr/word_0002.nii.gz"),
        ("word_0001", "val", "imagesVal/word_0001.nii.gz", "labelsVal/word_0001.nii.gz"),
        ("word_0014", "test", "imagesTs/word_0014.nii.gz", "labelsTs/word_0014.nii.gz"),
    ]
    return pairs_of(folder, make_ct, rows, word.STRUCTURES)


def btcv_sample(folder: Path, make_ct: MakeCt) -> Sample:
    rows = [
        ("img0001", "train", "Training/img/img0001.nii.gz", "Training/label/label0001.nii.gz"),
        ("img0061", "train", "Testing/img/img0061.nii.gz", ""),
    ]
    return pairs_of(folder, make_ct, rows, btcv.STRUCTURES)


def openkbp_sample(folder: Path, make_ct: MakeCt) -> Sample:
    """Two patients as sparse tables; the axes of the volume run to the back, the left and the feet."""
    sample: Sample = {}
    for patient, kind, split in ((7, "train", "train"), (201, "valid", "val")):
        grid = Grid((14, 20, 24), (4.0, 4.0, 2.5), (40.0, 80.0, 25.0))
        image = make_ct(grid, patient)
        image = Image(np.maximum(image.array, -999), grid)  # what has a row is more than nothing
        masks = blocks(grid.shape_zyx, *openkbp.STRUCTURES[:3])
        own = folder / "provided-data" / f"{kind}-pats" / f"pt_{patient}"
        own.mkdir(parents=True)
        _write_table(own / "ct.csv", _flat(image.array + 1000, grid))
        for name, mask in masks.items():
            indices, _ = _flat(mask, grid)
            _write_table(own / f"{name}.csv", (indices, None))
        _write_table(own / "PTV70.csv", (np.array([5]), None))
        (own / "voxel_dimensions.csv").write_text("4.000000000000000000e+00\n4.0\n2.5\n")
        sample[f"openkbp_{patient:03d}"] = Expected(image, masks, split)
    return sample


def _flat(array: NDArray[np.generic], grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
    z, y, x = np.nonzero(array)
    first = np.rint(np.divide(grid.origin_xyz, grid.spacing_xyz)).astype(int)
    places = (y + first[1], x + first[0], 127 - (z + first[2]))
    return np.ravel_multi_index(places, (128, 128, 128)), array[z, y, x]


def _write_table(file: Path, table: tuple[NDArray[np.int64], NDArray[np.generic] | None]) -> None:
    indices, values = table
    told = ["" for _ in indices] if values is None else [f"{float(value)}" for value in values]  # type: ignore[arg-type]
    rows = [f"{index},{value}" for index, value in zip(indices, told, strict=True)]
    file.write_text("\n".join([",data", *rows]) + "\n")


def lidc_sample(folder: Path, make_ct: MakeCt) -> Sample:
    """Two patients, one of them with two series, and an X-ray picture. Even values: what a slope of 1 keeps."""
    grid = Grid((8, 20, 24), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0))
    sample: Sample = {}
    for seed, (patient, series, case) in enumerate(
        (
            ("LIDC-IDRI-0001", "11", "LIDC-IDRI-0001"),
            ("LIDC-IDRI-0002", "21", "LIDC-IDRI-0002"),
            ("LIDC-IDRI-0002", "22", "LIDC-IDRI-0002_2"),
        )
    ):
        image = make_ct(grid, seed)
        write_ct(image, folder / patient / "study" / series, series, t0010_0020=patient)
        sample[case] = Expected(image, labelled=False)
    uids = folder / "LIDC-IDRI-0002" / "study" / "22"
    for number, file in enumerate(sorted(uids.iterdir())):
        file.rename(uids / f"1.3.6.1.4.1.14519.{number}")  # as archives name them
    picture = Image(make_ct(grid).array[:1], Grid((1, 20, 24), grid.spacing_xyz))
    write_ct(
        picture, folder / "LIDC-IDRI-0001" / "study" / "x", "9", t0008_0060="DX", t0010_0020="LIDC-IDRI-0001"
    )
    (folder / "LIDC-IDRI-0001" / "study" / "11" / "000.xml").write_text("<annotations/>")
    (folder / "LIDC-IDRI-0001" / "study" / "LICENSE").write_text("CC BY 3.0")
    return sample


SAMPLES: dict[str, Callable[[Path, MakeCt], Sample]] = {
    "openkbp": openkbp_sample,
    "totalsegmentator": totalsegmentator,
    "amos": amos_sample,
    "word": word_sample,
    "btcv": btcv_sample,
    "lidc": lidc_sample,
}


def zipped(folder: Path, target: Path, below: str = "") -> Path:
    """A folder as a zip, as published: with a folder around everything."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{below}{file.relative_to(folder).as_posix()}")
        archive.writestr(f"__MACOSX/{below}._x", b"")
    return target
