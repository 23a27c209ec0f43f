"""The same scans in this process, in several, and on a Dask cluster: the same results, whoever dies meanwhile."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medlsam.batch import BatchResult, Progress, localize_folder, segment_folder
from medlsam.batch.api import _localize, _segment
from medlsam.batch.one_scan import Item
from medlsam.batch.output import OutputFolder
from medlsam.batch.task import Run
from medlsam.batch.worker import ScanJob
from medlsam.errors import UsageError, WorkerError
from medlsam.geometry import Grid
from medlsam.io.cases import Case
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM, load
from tests.support.fakes.fake_model import FakeModel, fake_model
from tests.support.fakes.stub_model import draw_ct, template_set
from tests.support.paths import ROOT
from tests.support.processes import of_session, until

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
GOOD = ("a", "b", "broken", "c", "d")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    return fake_model(monkeypatch)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four scans, one file that is none, and one that will kill whoever works on it."""
    for number, name in enumerate((*GOOD, "killer")):
        volume = draw_ct(GRID, without=["plate"] if name == "b" else [], seed=number)
        write_volume(volume, tmp_path / "scans" / f"{name}_0000.nii.gz")
    (tmp_path / "scans" / "broken_0000.nii.gz").write_bytes(b"this is no image")
    return tmp_path / "scans"


def cases(scans: Path, names: tuple[str, ...]) -> list[Case]:
    return [Case(name, scans / f"{name}_0000.nii.gz") for name in names]


def segment(model: MedLSAM, scans: Any, output: Path, **more: Any) -> BatchResult:
    return segment_folder(model, template_set(), scans, output, report=False, **more)


def content(output: Path) -> dict[str, Any]:
    """Everything in the folder, without times: other files by their bytes."""
    found: dict[str, Any] = {}
    for file in sorted(output.rglob("*")):
        name = str(file.relative_to(output))
        if file.name == ".done.json":
            found[name] = json.loads(file.read_text()) | {"record": None}
        elif file.name == "run.json":
            run = json.loads(file.read_text())
            kept = {
                case: {key: entry[key] for key in ("status", "error")} for case, entry in run["cases"].items()
            }
            found[name] = {**run, "started": "", "finished": bool(run["finished"]), "cases": kept}
        elif file.name == "statistics.csv":
            with file.open(encoding="utf-8", newline="") as rows:
                found[name] = list(csv.DictReader(rows))
        elif file.is_file():
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def ends(told: list[Progress]) -> list[tuple[str, str]]:
    return sorted((p.case, p.status) for p in told if p.status != "running")


def test_a_local_cluster_gives_what_one_process_gives(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    wanted = cases(scans, GOOD)
    for way, more in {"serial": {}, "local": {"scheduler": "local", "jobs": 2}}.items():
        told: list[Progress] = []
        result = segment(model, wanted, tmp_path / way, on_progress=told.append, **more)
        assert sorted(result.done) == ["a", "b", "c", "d"], way
        assert "VolumeError" in result.failed["broken"]
        assert ends(told) == [(name, "failed" if name == "broken" else "done") for name in GOOD]
        assert [p.finished for p in told if p.status != "running"] == [1, 2, 3, 4, 5]
        assert sorted(p.case for p in told if p.status == "running") == sorted(GOOD)
        for name in GOOD:
            assert next(p.status for p in told if p.case == name) == "running"
    assert content(tmp_path / "local") == content(tmp_path / "serial")
    again = segment(model, wanted[:2], tmp_path / "local", jobs=2)
    assert (again.done, again.skipped) == ((), ("a", "b"))


@pytest.mark.parametrize("way", ["jobs", "scheduler"])
def test_a_scan_that_kills_its_worker_is_reported_and_the_others_finish(
    model: FakeModel, scans: Path, tmp_path: Path, request: pytest.FixtureRequest, way: str
) -> None:
    more = {"jobs": 2} if way == "jobs" else {"scheduler": request.getfixturevalue("address")}
    output = tmp_path / "out"
    result = segment(model, cases(scans, ("killer", *GOOD)), output, **more)
    assert sorted(result.done) == ["a", "b", "c", "d"]
    assert result.exit_code == 1
    assert set(result.failed) == {"broken", "killer"}
    assert "WorkerError: the process that worked on killer died 2 times" in result.failed["killer"]
    assert json.loads((output / "run.json").read_text())["cases"]["killer"]["error"]["type"] == "WorkerError"
    assert not [f for f in output.iterdir() if f.name.startswith(".")]
    assert not (output / "killer").exists()
    segment(model, cases(scans, GOOD), tmp_path / "serial")
    found, expected = content(output), content(tmp_path / "serial")
    del found["run.json"]["cases"]["killer"]
    assert found == expected


STOPPED = """
import signal
import sys
from pathlib import Path
from medlsam.batch import segment_folder
from medlsam.io.cases import Case
from tests.support.fakes.fake_model import fake_model
from tests.support.paths import ROOT
from tests.support.processes import of_session, until
from tests.support.fakes.stub_model import template_set

def tell(progress):
    print(progress.status, progress.case, flush=True)

if __name__ == "__main__":
    # A run of the tests in the background ignores Ctrl-C, and so would this program.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cases = [Case(Path(path).stem, Path(path)) for path in sys.argv[2:]]
    segment_folder(fake_model(), template_set(), cases, sys.argv[1], report=False, on_progress=tell, jobs=2)
"""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked for in /proc")
def test_ctrl_c_leaves_a_folder_to_go_on_from_and_no_process(model: FakeModel, tmp_path: Path) -> None:
    paths = [tmp_path / "scans" / f"{name}.nrrd" for name in ("a", "sleeper", "b")]
    for number, path in enumerate(paths):
        write_volume(draw_ct(GRID, seed=number), path)
    (tmp_path / "script.py").write_text(STOPPED)
    output = tmp_path / "out"
    command = [sys.executable, str(tmp_path / "script.py"), str(output), *map(str, paths)]
    told: list[str] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        while not {"done a", "done b", "running sleeper"} <= set(told):
            told.append(program.stdout.readline().strip())
            assert told[-1], program.communicate()
        # As a terminal does: every process gets it.
        os.killpg(program.pid, signal.SIGINT)
        _, errors = program.communicate(timeout=120)
    assert program.returncode != 0
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert errors.count("Traceback") == 1
    until(lambda: not of_session(program.pid))
    assert not [f for f in output.iterdir() if f.name.startswith(".")]
    run = json.loads((output / "run.json").read_text())
    assert (sorted(run["cases"]), run["finished"]) == (["a", "b"], None)
    again = segment(model, [Case(path.stem, path) for path in paths if path.stem != "sleeper"], output)
    assert (again.done, sorted(again.skipped)) == ((), ["a", "b"])


def test_localize_goes_over_processes_too(
    model: FakeModel, scans: Path, tmp_path: Path, address: str
) -> None:
    wanted = cases(scans, ("a", "b"))
    localize_folder(model, template_set(), wanted, tmp_path / "serial")
    localize_folder(model, template_set(), wanted, tmp_path / "cluster", scheduler=address)
    assert content(tmp_path / "cluster") == content(tmp_path / "serial")


def job(model: MedLSAM, output: Path, weights: dict[str, str] | None = None) -> ScanJob:
    run = Run("segment", model, template_set(), InferenceOptions(), _segment)
    return ScanJob(run, OutputFolder(output, "segment"), weights)


def test_a_worker_with_other_weights_says_so(model: FakeModel, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(job(model, tmp_path / "out")))
    again.start()
    assert again.weights == {"localizer": "ab" * 32, "segmenter": "cd" * 32}
    with pytest.raises(WorkerError, match="has other weights of the segmenter stub-segmenter"):
        job(model, tmp_path / "out", {"localizer": "ab" * 32, "segmenter": "ee" * 32}).start()


def test_the_following_scan_is_read_meanwhile(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    work, items = job(model, tmp_path), [Item(case, "f", "s") for case in cases(scans, ("a", "b", "c"))]
    assert work(items[0], items[1]).done is not None
    # The file is not needed any more.
    (reading,) = work._ahead.values()
    reading.result()
    items[1].case.path.unlink()
    assert work(items[1], items[2]).done is not None
    assert work(items[2]).done is not None


def test_a_model_that_cannot_be_sent(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    bare = MedLSAM(model.localizer, model.segmenter)
    model.localizer.secret = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="load it with medlsam.load"):
        segment(bare, scans, tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_a_loaded_model_travels_as_how_it_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.safetensors").touch()
    source = load(device="cpu", segmenter="own.safetensors", cache="kept").source
    assert source is not None
    assert (source.localizer, source.segmenter) == ("medlam-tiny", str(tmp_path / "own.safetensors"))
    assert source.cache == str(tmp_path / "kept")
    model = load(device="cpu")
    run = Run("localize", model, template_set(), InferenceOptions(), _localize)
    packed = pickle.dumps(ScanJob(run, OutputFolder(tmp_path / "out", "localize")))
    again = pickle.loads(packed)
    again.start()
    assert len(packed) < 20_000
    assert again.run.model.localizer.signature == model.localizer.signature
    assert again.folder.path == tmp_path / "out"
    assert again.folder.writer.endswith(f"-{os.getpid()}")
