"""Small samples of the lesion data sets, each in the layout of its source, with what has to come out of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.data.adapters import kits, lits, mswal
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.volume.volume import LabelMap
from tests.support.data.public_sources import GRID, Expected, MakeCt, Sample, blocks, pairs_of

#: Of HCUCH: an abdomen of the training part, and a chest of the test part.
ABDOMEN, CHEST = "001_1.3.12.2.1107.5", "012_1.3.12.2.1107.9"
#: Of DeepLesion: two runs of one series, with a slice missing between them.
SERIES, SPACING = "000002_01_01", (0.8, 0.8, 5.0)
FIRST_RUN, SECOND_RUN = range(103, 113), range(114, 122)
#: File, coarse type, box, doubts, split.
DL_ROWS = (
    ("000001_01_01_014.png", "3", "1, 2, 3, 4", "0", "1"),
    ("000002_01_01_108.png", "4", "4, 5, 10, 12", "0", "2"),
    ("000002_01_01_117.png", "6", "2.5, 3.5, 8, 9", "1", "2"),
    ("000002_01_01_117.png", "-1", "15, 3, 20, 9", "0", "2"),
)
_DL_COLUMNS = (
    "File_name",
    "Coarse_lesion_type",
    "Bounding_boxes",
    "Possibly_noisy",
    "Train_Val_Test",
    "Measurement_coordinates",
    "Spacing_mm_px_",
)


def _write_hcuch(folder: Path, make_ct: MakeCt) -> dict[str, tuple[Expected, NDArray[np.uint16]]]:
    """Both cases, with their instances and without classes: two metastases that touch, and labels by many hands."""
    made = {}
    for seed, (name, region, split, labels) in enumerate(
        (
            (ABDOMEN, "abdomen", "train", {1: "m,liver", 2: "m,liver", 4: "n,aortocaval"}),
            (CHEST, "thorax", "test", {1: "t,lung", 2: "m, Lung", 300: "m,liver"}),
        )
    ):
        one, two, three = blocks(GRID.shape_zyx, "one", "two", "three").values()
        instances = np.zeros(GRID.shape_zyx, np.uint16)
        instances[one] = 1
        if name == ABDOMEN:
            instances[one & (np.indices(GRID.shape_zyx)[0] > 3)] = 2
            instances[two] = 4
        else:
            instances[two], instances[three] = 2, 300
        image = make_ct(GRID, seed)
        place = folder / "images" / region / split
        write_volume(image, place / "images" / f"{name}.nii.gz")
        write_volume(LabelMap(instances, GRID), place / "masks" / f"{name}.nii.gz")
        (place / "labels").mkdir()
        (place / "labels" / f"{name}.json").write_text(json.dumps(labels))
        made[name] = (Expected(image, {}, split), instances)
    (folder / "metadata").mkdir()
    windows = {f"{ABDOMEN}.nii.gz": "abdomen", f"{CHEST}.nii.gz": "lung"}
    (folder / "metadata" / "windows_mapping.json").write_text(json.dumps(windows))
    (folder / "recist_measurements.csv").write_text("patient_id,filename\n")
    return made


def hcuch_sample(folder: Path, make_ct: MakeCt) -> Sample:
    made = _write_hcuch(folder, make_ct)
    (abdomen, own), (chest, others) = made[ABDOMEN], made[CHEST]
    abdomen.masks = {"metastasis": np.isin(own, (1, 2)), "lymph_node": own == 4}
    chest.masks = {"primary_tumor": others == 1, "metastasis": np.isin(others, (2, 300))}
    return {ABDOMEN: abdomen, CHEST: chest}


def hcuch_lung_sample(folder: Path, make_ct: MakeCt) -> Sample:
    chest, instances = _write_hcuch(folder, make_ct)[CHEST]
    chest.masks = {"lung_tumor": np.isin(instances, (1, 2))}
    return {CHEST: chest}


def hcuch_liver_sample(folder: Path, make_ct: MakeCt) -> Sample:
    made = _write_hcuch(folder, make_ct)
    for values, (expected, instances) in zip(((1, 2), (300,)), made.values(), strict=True):
        expected.masks = {"liver_tumor": np.isin(instances, values)}
    return {name: expected for name, (expected, _) in made.items()}


def mswal_sample(folder: Path, make_ct: MakeCt) -> Sample:
    rows = [
        ("MSWAL_0003", "train", "imagesTr/MSWAL_0003_0000.nii.gz", "labelsTr/MSWAL_0003.nii.gz"),
        ("MSWAL_0017", "train", "imagesTr/MSWAL_0017_0000.nii.gz", "labelsTr/MSWAL_0017.nii.gz"),
        ("MSWAL_0500", "test", "imagesTs/MSWAL_0500_0000.nii.gz", ""),
    ]
    sample = pairs_of(folder, make_ct, rows, mswal.LESIONS)
    labels = {"background": 0} | {name: value for value, name in enumerate(mswal.LESIONS, start=1)}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return sample


def lits_sample(folder: Path, make_ct: MakeCt) -> Sample:
    rows = [
        ("lits_0", "train", "Training Batch 1/volume-0.nii", "Training Batch 1/segmentation-0.nii"),
        ("lits_28", "train", "Training Batch 2/volume-28.nii", "Training Batch 2/segmentation-28.nii"),
        ("lits_test_0", "test", "LITS-Challenge-Test-Data/test-volume-0.nii", ""),
    ]
    return pairs_of(folder, make_ct, rows, lits.STRUCTURES)


def kits_sample(folder: Path, make_ct: MakeCt) -> Sample:
    rows = [
        ("kits_00000", "train", "case_00000/imaging.nii.gz", "case_00000/segmentation.nii.gz"),
        ("kits_00400", "train", "case_00400/imaging.nii.gz", "case_00400/aggregated_MAJ_seg.nii.gz"),
        ("kits_00210", "train", "case_00210/imaging.nii.gz", ""),
    ]
    sample = pairs_of(folder, make_ct, rows, kits.STRUCTURES)
    # What one annotator drew is no label map of the case.
    other = folder / "case_00000" / "instances" / "segmentation.nii.gz"
    write_volume(LabelMap(np.zeros((2, 3, 4), np.uint8), Grid((2, 3, 4))), other)
    return sample


def write_png(file: Path, plane: NDArray[np.generic]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(plane), str(file))


def run_grid(numbers: range) -> Grid:
    """Where the scan of a run lies: its last slice is the lowest."""
    return Grid((len(numbers), 20, 24), SPACING, (0.0, 0.0, -numbers[-1] * SPACING[2]))


def deeplesion_sample(folder: Path, make_ct: MakeCt) -> Sample:
    """Two runs of one series, a single slice, and a run without a lesion."""
    sample: Sample = {}
    for seed, numbers in enumerate((FIRST_RUN, SECOND_RUN)):
        image = make_ct(run_grid(numbers), seed)
        for number in numbers:
            plane = (image.array[numbers[-1] - number].astype(np.int32) + 32768).astype(np.uint16)
            write_png(folder / "Images_png" / SERIES / f"{number:03d}.png", plane)
        name = f"{SERIES}_{numbers[0]:03d}-{numbers[-1]:03d}"
        sample[name] = Expected(image, split="val", labelled=False)
    for name in ("000001_01_01/014", "000002_01_01/130", "000002_01_01/131"):
        write_png(folder / "Images_png" / f"{name}.png", np.full((20, 24), 32768, np.uint16))
    with (folder / "DL_info.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_DL_COLUMNS)
        for row in DL_ROWS:
            writer.writerow((*row, "4, 6, 10, 11, 5, 10, 8, 7", ", ".join(map(str, SPACING))))
    return sample


def land3d_sample(folder: Path, make_ct: MakeCt) -> Sample:
    """The first run with a mask in 3D, of the size of the whole series; the second with one of its key slice."""
    sample = deeplesion_sample(folder, make_ct)
    boxes = [row[2] for row in DL_ROWS]
    lines = ["series,slice_range,key_slice,lesion_id,matched_organs,File_name,Bounding_boxes"]
    lines.append(f'{SERIES},103~112,108,1,liver,{SERIES}_108.png,"{boxes[1]}"')
    for lesion, organ in ((2, "kidney_right"), (3, "kidney_left_prox")):
        # As published: with every box of the slice.
        lines += [f'{SERIES},114~121,117,{lesion},{organ},{SERIES}_117.png,"{box}"' for box in boxes[2:]]
    (folder / "3DLAND_Info.csv").write_text("\n".join(lines) + "\n")
    (mask,) = blocks((len(FIRST_RUN), 20, 24), "liver lesion").values()
    stored = np.zeros((len(FIRST_RUN) + len(SECOND_RUN) + 2, 20, 24), np.uint8)
    stored[: len(FIRST_RUN)] = mask[::-1]  # from the head down
    down = Grid(stored.shape, SPACING, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    write_volume(LabelMap(stored, down), folder / "3D_masks" / f"{SERIES}_108.nii.gz")
    flat = np.zeros((20, 24), np.uint8)
    flat[4:8, 3:7], flat[4:8, 16:19] = 255, 255
    write_png(folder / "2D_lesion_mask" / f"{SERIES}_117.png", flat)
    first = sample[f"{SERIES}_103-112"]
    first.masks, first.labelled = {"liver lesion": mask}, True
    return sample


LESION_SAMPLES = {
    "hcuch": hcuch_sample,
    "hcuch-lung": hcuch_lung_sample,
    "hcuch-liver": hcuch_liver_sample,
    "mswal": mswal_sample,
    "lits": lits_sample,
    "kits": kits_sample,
    "deeplesion": deeplesion_sample,
    "3dland": land3d_sample,
}
