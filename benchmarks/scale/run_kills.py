"""A run that is killed at random moments, then run again: is every file that of the undisturbed run?

    python benchmarks/scale/run_kills.py [--kills 100] [--scans 10] [--seed 0] [--json FILE]

Ten small DICOM series of phantoms are segmented with ``--jobs 2`` and all formats. A run gets SIGKILL at a moment drawn
evenly from the length of a whole one, every other time with its workers, else alone, and is started again at once. When
it ends before its moment, its folder is compared with that of the undisturbed run, and a fresh folder begins. After
every kill no case's folder may be half-written; at the end all files must be those of the undisturbed run, byte for
byte but for those that tell the time (``run.json``, the report, the markers). About half an hour on two cores.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, options, progress
from medlsam.phantoms import phantom
from medlsam.volume import Image

#: Workers whose run was killed alone end when they notice.
_ORPHANS_SECONDS = 5.0
FORMATS = "nifti,dicom-seg,rtstruct,slicer"
STRUCTURES = ("brainstem", "mandible")
_MAIN = "from medlsam.cli import main; main()"
#: They tell when and how long, and on which try.
TELL_THE_TIME = {"run.json", "report.html", ".done.json"}


def write_series(scan: Image, folder: Path, patient: str) -> None:
    """Write a scan as a CT series, as little of it as the outputs need."""
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    direction = np.asarray(scan.grid.direction).reshape(3, 3)
    for n, plane in enumerate(scan.array):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.Modality, data.PatientID, data.PatientName = "CT", patient, f"Phantom^{patient}"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.StudyDate, data.StudyTime, data.InstanceNumber = "20200101", "120000", n + 1
        data.ImagePositionPatient = [f"{v:.6f}" for v in scan.grid.ijk_to_lps([0, 0, n])]
        data.ImageOrientationPatient = [f"{v:.9f}" for v in direction[:, :2].T.ravel()]
        data.PixelSpacing = [f"{v:g}" for v in scan.grid.spacing_xyz[1::-1]]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation, data.RescaleIntercept, data.RescaleSlope = 15, 1, "0", "1"
        data.PixelData = plane.astype("<i2").tobytes()
        data.save_as(folder / f"{n:04d}.dcm", enforce_file_format=True)


def scans_and_templates(folder: Path, count: int) -> tuple[Path, Path]:
    """Small heads as DICOM series, and a template file."""
    for n in range(count):
        made = phantom(n, (4.0, 4.0, 5.0), "head-neck")
        write_series(made.image, folder / "scans" / f"patient{n}", f"P{n}")
    for n in (100, 101):
        made = phantom(n, (4.0, 4.0, 5.0), "head-neck")
        values = {name: value for value, name in made.names.items()}
        labels = np.zeros(made.labels.array.shape, np.uint8)
        for number, name in enumerate(STRUCTURES, start=1):
            labels[made.labels.array == values[name]] = number
        case = folder / "templates" / f"t{n}"
        medlsam.write_volume(made.image, case / "image.nii.gz")
        medlsam.write_volume(type(made.labels)(labels, made.labels.grid), case / "labels.nii.gz")
    (folder / "templates" / "labels.json").write_text('{"brainstem": 1, "mandible": 2}')
    model = medlsam.load()
    model.templates(folder / "templates").save(folder / "heads.medlsam")
    return folder / "scans", folder / "heads.medlsam"


def start(scans: Path, templates: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start the run as the head of a process group of its own."""
    call = [sys.executable, "-c", _MAIN, "segment", "--support", str(templates), "--images", str(scans)]
    call += ["--output", str(output), "--jobs", "2", "--format", FORMATS, "--per-structure"]
    return subprocess.Popen(
        call, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def timeless(file: Path) -> bytes:
    """The bytes of a file; of a DICOM object all but when it was made, and the number that highdicom draws for it."""
    if file.suffix != ".dcm":
        return file.read_bytes()
    data = pydicom.dcmread(file)

    def drop(dataset: Dataset, element: DataElement) -> None:
        if element.VR in ("DA", "TM", "DT") or element.keyword == "DimensionOrganizationUID":
            del dataset[element.tag]

    data.walk(drop)
    return pickle.dumps(data.to_json_dict())


def _hidden(file: Path, output: Path) -> bool:
    """Whether a file is none of the results: something that a run keeps for itself."""
    return file.relative_to(output).parts[0].startswith(".")


def contents(output: Path) -> dict[str, bytes]:
    """Every file that tells no time."""
    return {
        str(file.relative_to(output)): timeless(file)
        for file in sorted(output.rglob("*"))
        if file.is_file() and file.name not in TELL_THE_TIME and not _hidden(file, output)
    }


def half_written(output: Path, whole: dict[str, bytes]) -> list[str]:
    """Files of finished places that are not as they must be."""
    found = contents(output) if output.exists() else {}
    visible = {name: data for name, data in found.items() if "/" in name}
    wrong = [name for name, data in visible.items() if whole.get(name) != data]
    for marker in output.glob("*/.done.json"):
        case = marker.parent.name
        wrong += [name for name in whole if name.startswith(f"{case}/") and name not in visible]
    return wrong


@dataclass
class Folder:
    """An output folder from its first run to that which ends.

    Attributes:
        output: the folder.
        kills: how often a run over it was killed.
        half_written: files that were not as they must be after a kill.
        exit_code: of the run that ended.
        different: files that are not those of the undisturbed run.
        left_over: hidden files at the end.
    """

    output: Path
    kills: int = 0
    half_written: list[str] = field(default_factory=list)
    exit_code: int | None = None
    different: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    def end(self, exit_code: int, whole: dict[str, bytes]) -> None:
        """Compare with the undisturbed run, and make room."""
        time.sleep(_ORPHANS_SECONDS)
        differ = set(contents(self.output).items()) ^ set(whole.items())
        self.exit_code, self.different = exit_code, sorted({name for name, _ in differ})
        self.left_over = [file.name for file in self.output.iterdir() if file.name.startswith(".")]
        progress(f"{self.output.name}: {self.kills} kills, exit {exit_code}, different: {self.different}")
        shutil.rmtree(self.output)


def kill(run: subprocess.Popen[bytes], with_workers: bool) -> None:
    """End a run with SIGKILL."""
    if with_workers:
        os.killpg(run.pid, signal.SIGKILL)
    else:
        run.kill()
    run.wait()


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, real=False)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--scans", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="medlsam-") as place:
        folder = Path(place)
        progress("scans, templates and the undisturbed run")
        scans, templates = scans_and_templates(folder, arguments.scans)
        before = time.perf_counter()
        code = start(scans, templates, folder / "whole").wait()
        length = time.perf_counter() - before
        whole = contents(folder / "whole")
        progress(f"{len(whole)} files in {length:.0f} s, exit code {code}")
        folders = [Folder(folder / "out0")]
        kills = 0
        while kills < arguments.kills:
            run, moment = start(scans, templates, folders[-1].output), float(rng.uniform(0.5, length))
            try:
                ended = run.wait(moment)
            except subprocess.TimeoutExpired:
                kill(run, with_workers=kills % 2 == 0)
                kills += 1
                folders[-1].kills += 1
                folders[-1].half_written += half_written(folders[-1].output, whole)
                continue
            folders[-1].end(ended, whole)
            folders.append(Folder(folder / f"out{len(folders)}"))
        folders[-1].end(start(scans, templates, folders[-1].output).wait(), whole)
    rows = [asdict(row) | {"output": row.output.name} for row in folders]
    table = Table(
        title=f"{arguments.scans} scans, --jobs 2, all formats; a whole run takes {length:.0f} s (exit {code})"
    )
    for column in (
        "folder",
        "kills",
        "half-written",
        "exit code at the end",
        "files that differ",
        "left over",
    ):
        table.add_column(column, justify="right")
    for row in folders:
        counts = (row.kills, len(row.half_written), row.exit_code, len(row.different), len(row.left_over))
        table.add_row(row.output.name, *map(str, counts))
    answer([table], {"seconds": length, "files": len(whole), "folders": rows}, arguments.json)


if __name__ == "__main__":
    command(main)
