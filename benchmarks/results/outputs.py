"""Are DICOM outputs the masks that were written? Read back by other programs, on real scans.

    python benchmarks/results/outputs.py [--ct ../shared/ct] [--labels 40]

1. The DICOM series `dicom/ts_example` with the 31 structures of its label map: SEG and RTSTRUCT are written and read
   back (SEG with pydicom; RTSTRUCT by a rasterizer that tests pixel centres, and by rt-utils where OpenCV loads).
2. Outlines of every structure of real label maps (`body/*/labels.nii.gz` and `--labels` maps of `openkbp/labelsTr`),
   read back by pixel centres.

Printed are n, mean, standard deviation and lowest Dice, how far a corner lies from the mask's edge (in pixels, at
most), seconds and megabytes. Takes a minute.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.export.dicom.contours import outlines
from medlsam.export.formats import open_series, write_outputs
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.measure.metrics import dice
from medlsam.output_options import OutputOptions
from medlsam.volume import LabelMap
from tests.support.data.found_structures import segmentation_of
from tests.support.dicom_objects import inside, segments_on, structures_in


def main() -> None:
    """Print both tables."""
    parser = options(__doc__)
    parser.add_argument("--labels", type=int, default=40, help="label maps of openkbp (%(default)s)")
    arguments = parser.parse_args()
    figures = {"series": series(arguments.ct), "outlines": label_maps(arguments.ct, arguments.labels)}
    columns = {
        "what": "what",
        "reader": "reader",
        "n": "n",
        "dice": "Dice mean ± std",
        "lowest": "lowest",
        "off": "corner off the edge, px",
        "s": "seconds",
        "mb": "MB",
    }
    table = Table(*columns.values())
    for rows in figures.values():
        for row in rows:
            table.add_row(*(str(row.get(key, "")) for key in columns))
    answer([table], figures, arguments.json)


def series(ct: Path) -> list[dict[str, Any]]:
    """The real series, written and read back."""
    image = read_image(ct / "dicom" / "ts_example")
    labels = read_label_map(ct / "body" / "ts_example_dicom" / "labels.nii.gz")
    listed = json.loads((ct / "body" / "ts_example_dicom" / "labels.json").read_text(encoding="utf-8"))
    names = {int(value): name for name, value in listed.items()}
    found = segmentation_of(labels.array, image.grid, image.source, names)
    rows = []
    with tempfile.TemporaryDirectory() as made:
        for name, file in (("dicom-seg", "segmentation.dcm"), ("rtstruct", "rtstruct.dcm")):
            wanted = OutputOptions(format=(name,))
            start = time.perf_counter()
            write_outputs(found, Path(made), wanted, open_series(image, wanted, "a"))
            seconds = time.perf_counter() - start
            path = Path(made) / file
            size = {"s": f"{seconds:.2f}", "mb": f"{path.stat().st_size / 1e6:.1f}"}
            if name == "dicom-seg":
                rows.append(_row(name, "pydicom", segments_on(path, image.grid), labels, names) | size)
                continue
            rows.append(
                _row(name, "pixel centres", structures_in(path, image.source.files), labels, names) | size
            )
            if (read := _by_rt_utils(path, ct / "dicom" / "ts_example", image.source.files)) is not None:
                rows.append(_row(name, "rt-utils", read, labels, names))
    return rows


def label_maps(ct: Path, count: int) -> list[dict[str, Any]]:
    """Outlines of real label maps, slice by slice."""
    groups = {
        "outlines, body": sorted(ct.glob("body/*/labels.nii.gz")),
        "outlines, openkbp": sorted(ct.glob("openkbp/labelsTr/*.nii.gz"))[:count],
    }
    rows = []
    for what, files in groups.items():
        scores, off, seconds = [], 0.0, 0.0
        for file in files:
            array = read_label_map(file).array
            for value in np.unique(array[array > 0]):
                mask = array == value
                again = np.zeros_like(mask)
                for n in np.flatnonzero(mask.any(axis=(1, 2))):
                    start = time.perf_counter()
                    polygons = outlines(mask[n])
                    seconds += time.perf_counter() - start
                    off = max(off, *(_off_edge(polygon, mask[n]) for polygon in polygons))
                    for polygon in polygons:
                        again[n] ^= inside(polygon, mask[n].shape)
                scores.append(dice(again, mask))
        row = {"what": what, "reader": "pixel centres", "off": f"{off:.2f}", "s": f"{seconds:.1f}"}
        rows.append(row | _spread(scores))
    return rows


def _row(
    what: str, reader: str, masks: Mapping[str, NDArray[np.bool_]], labels: LabelMap, names: Mapping[int, str]
) -> dict[str, Any]:
    scores = [dice(masks[name], labels.array == value) for value, name in names.items()]
    return {"what": what, "reader": reader, **_spread(scores)}


def _spread(scores: list[float]) -> dict[str, Any]:
    mean = f"{np.mean(scores):.4f} ± {np.std(scores):.4f}"
    return {"n": len(scores), "dice": mean, "lowest": f"{min(scores):.4f}"}


def _off_edge(polygon: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """How far (pixels) a corner lies from the nearest edge between a pixel of the mask and one outside of it."""
    padded = np.pad(mask, 2)
    worst = 0.0
    for corner in polygon:
        # The five by five pixels around the nearest one; edges as their first end and the way along them.
        column, row = np.rint(corner).astype(int)
        part = padded[row : row + 5, column : column + 5]
        upright = np.argwhere(part[:, 1:] != part[:, :-1])[:, ::-1] + [0.5, -0.5]
        level = np.argwhere(part[1:] != part[:-1])[:, ::-1] + [-0.5, 0.5]
        from_start = corner - [column - 2, row - 2] - np.concatenate([upright, level])
        along = np.repeat([[0.0, 1.0], [1.0, 0.0]], [len(upright), len(level)], axis=0)
        share = np.clip((from_start * along).sum(axis=1), 0, 1)
        worst = max(worst, float(np.linalg.norm(from_start - share[:, None] * along, axis=1).min()))
    return worst


def _by_rt_utils(path: Path, folder: Path, files: tuple[Path, ...]) -> dict[str, NDArray[np.bool_]] | None:
    """The masks as rt-utils reads them; None where it cannot be loaded, or where the series lacks what it needs."""
    try:
        from pydicom import dcmread
        from pydicom.uid import ImplicitVRLittleEndian
        from rt_utils import RTStructBuilder
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as mended:
        # It refers to slices by UIDs that anonymizers took out of the data set, and left in the file's head.
        for file in files:
            slice_file = dcmread(file, stop_before_pixels=True)
            slice_file.SOPInstanceUID = slice_file.file_meta.MediaStorageSOPInstanceUID
            slice_file.SOPClassUID = slice_file.file_meta.MediaStorageSOPClassUID
            # Nor does it look at the pixels, but it wants to be able to.
            slice_file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            slice_file.PixelData = bytes(2 * slice_file.Rows * slice_file.Columns)
            slice_file.save_as(Path(mended) / file.name)
        read = RTStructBuilder.create_from(dicom_series_path=mended, rt_struct_path=str(path))
        return {name: read.get_roi_mask_by_name(name).transpose(2, 0, 1) for name in read.get_roi_names()}


if __name__ == "__main__":
    command(main)
