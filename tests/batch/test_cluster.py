"""The same scans in this process, in several, and on a Dask cluster: the same results, whoever dies meanwhile."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medlsam
from medlsam.batch import BatchResult, Progress, localize_folder, segment_folder
from medlsam.batch.api import _localize, _segment
from medlsam.batch.job import Job
from medlsam.batch.one_scan import Item
from medlsam.batch.output import OutputFolder
from medlsam.batch.spread import Spread
from medlsam.batch.task import Run
from medlsam.batch.worker import JobFile, Station, check
from medlsam.errors import UsageError, WorkerError
from medlsam.geometry import Grid
from medlsam.io.cases import Case
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.parallel.dask import Cluster
from medlsam.pipeline.model import MedLSAM, load
from tests.support.dask_workers import two_workers
from tests.support.fake_model import FakeModel, fake_model
from tests.support.stub_model import draw_ct, template_set

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
GOOD = ("a", "b", "broken", "c", "d")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with two_workers() as cluster:
        yield cluster.scheduler_address


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
    pytest.importorskip("distributed")
    wanted = cases(scans, GOOD)
    for way, more in {"serial": {}, "local": {"scheduler": "local", "jobs": 2}}.items():
        told: list[Progress] = []
        result = segment(model, wanted, tmp_path / way, on_progress=told.append, **more)
        assert sorted(result.done) == ["a", "b", "c", "d"], way
        assert "VolumeError" in result.failed["broken"]
        assert ends(told) == [(name, "failed" if name == "broken" else "done") for name in GOOD]
        assert [p.finished for p in told if p.status != "running"] == [1, 2, 3, 4, 5]
    assert content(tmp_path / "local") == content(tmp_path / "serial")
    again = segment(model, wanted[:2], tmp_path / "local", jobs=2)
    assert (again.done, again.skipped) == ((), ("a", "b"))


@pytest.mark.parametrize("way", ["jobs", "cluster"])
def test_a_scan_that_kills_its_worker_is_reported_and_the_others_finish(
    model: FakeModel, scans: Path, tmp_path: Path, request: pytest.FixtureRequest, way: str
) -> None:
    more = {"jobs": 2} if way == "jobs" else {"scheduler": request.getfixturevalue("cluster")}
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


def test_localize_goes_over_processes_too(
    model: FakeModel, scans: Path, tmp_path: Path, cluster: str
) -> None:
    wanted = cases(scans, ("a", "b"))
    localize_folder(model, template_set(), wanted, tmp_path / "serial")
    localize_folder(model, template_set(), wanted, tmp_path / "cluster", scheduler=cluster)
    assert content(tmp_path / "cluster") == content(tmp_path / "serial")


def test_without_dask_the_error_says_what_to_install(
    model: FakeModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'medlsam\[cluster\]'"):
        segment(model, scans, tmp_path / "out", scheduler="local")
    assert not (tmp_path / "out").exists()


def test_one_file_imports_dask() -> None:
    package = Path(medlsam.__file__).parent
    imports = re.compile(r"^\s*(import|from) (dask|distributed)\b", re.MULTILINE)
    found = [file for file in package.rglob("*.py") if imports.search(file.read_text(encoding="utf-8"))]
    assert [str(file.relative_to(package)) for file in found] == ["cluster/client.py"]


def test_a_scheduler_that_does_not_answer(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(UsageError, match="no Dask scheduler answers there"),
    ):
        segment(model, scans, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("jobs", "scheduler", "message"),
    [
        (0, None, "1 or more"),
        (True, None, "1 or more"),
        (1, "somewhere", "give the address of a Dask scheduler"),
        (2, "tcp://host:1", "has its own workers"),
    ],
)
def test_wrong_calls(jobs: int, scheduler: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Spread(jobs, scheduler)


def job_file(model: MedLSAM, tmp_path: Path, **changed: Any) -> JobFile:
    run = Run("segment", model, template_set(), InferenceOptions(), _segment)
    job = Job.of(run, OutputFolder(tmp_path / "out", "segment"), None)
    (tmp_path / "out" / ".run-1").mkdir(parents=True, exist_ok=True)
    for name, value in changed.items():
        object.__setattr__(job, name, value)
    return JobFile.write(tmp_path / "out" / ".run-1", job.packed())


def test_a_worker_that_cannot_do_the_work_says_why(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    file = job_file(model, tmp_path)
    assert check(file, scans / "a_0000.nii.gz") == check(file, None) == os.getpid()
    with pytest.raises(WorkerError, match="does not see .*elsewhere.nii.gz; all workers must see the scans"):
        check(file, tmp_path / "elsewhere.nii.gz")
    with pytest.raises(WorkerError, match="does not see .*/job"):
        JobFile(tmp_path / "no such folder" / "job", file.sha256).read()
    with pytest.raises(WorkerError, match="reads another"):
        JobFile(file.path, "0" * 64).read()
    with pytest.raises(WorkerError, match="install the same version"):
        Station(job_file(model, tmp_path, version="0.0.1"))
    with pytest.raises(WorkerError, match="has other weights of the segmenter stub-segmenter"):
        Station(job_file(model, tmp_path, weights={"localizer": "ab" * 32, "segmenter": "ee" * 32}))


def item_of(scans: Path, name: str) -> Item:
    return Item(Case(name, scans / f"{name}_0000.nii.gz"), "f", "s")


def test_a_scan_that_two_workers_died_over_is_not_begun_again(
    model: FakeModel, scans: Path, tmp_path: Path
) -> None:
    file = job_file(model, tmp_path)
    station, item = Station(file), item_of(scans, "a")
    assert file.begun.times("a") == 0
    file.begun.begin("a")
    assert station.work(item).done is not None
    # Nobody died after all: it may be done again, where its result was lost.
    assert file.begun.times("a") == 0
    for _ in range(2):
        file.begun.begin("a")
    outcome = station.work(item)
    assert outcome.done is None
    assert "died 2 times" in (outcome.record.error or {})["text"]
    assert not (tmp_path / "out" / "a").exists()


def test_a_model_that_cannot_be_sent(model: FakeModel, scans: Path, tmp_path: Path) -> None:
    bare = MedLSAM(model.localizer, model.segmenter)
    model.localizer.secret = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="load it with medlsam.load"):
        segment(bare, scans, tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_dies_over_the_models_is_not_waited_for() -> None:
    class Nobody:
        """A client whose one worker is gone when it is asked again."""

        asked = 0

        def nthreads(self) -> dict[str, int]:
            self.asked += 1
            return {"tcp://w": 1} if self.asked == 1 else {}

        def submit(self, *_: Any, **__: Any) -> Any:
            return self

        def exception(self, timeout: float) -> None:
            raise TimeoutError

    with pytest.raises(WorkerError, match="tcp://w died while it loaded the models"):
        Cluster(None, Nobody()).ask_all("key", "loaded the models", print)


def test_a_loaded_model_travels_as_how_it_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.safetensors").touch()
    source = load(device="cpu", segmenter="own.safetensors", cache="kept").source
    assert source is not None
    assert (source.localizer, source.segmenter) == ("medlam-tiny", str(tmp_path / "own.safetensors"))
    assert source.cache == str(tmp_path / "kept")
    model = load(device="cpu")
    run = Run("localize", model, template_set(), InferenceOptions(), _localize)
    packed = Job.of(run, OutputFolder(tmp_path / "out", "localize"), None).packed()
    again, folder = Job.unpacked(packed).start()
    assert len(packed) < 20_000
    assert again.model.localizer.signature == model.localizer.signature
    assert folder.path == tmp_path / "out"
    assert folder.writer.endswith(f"-{os.getpid()}")
