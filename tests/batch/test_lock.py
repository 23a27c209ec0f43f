"""Two runs over one output folder: the second is refused, unless the first was killed or both are shards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medlsam.batch import localize_folder
from medlsam.errors import UsageError
from medlsam.io.write import write_volume
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.run_lock import run_lock
from tests.support.batch_runs import GRID, everything, segment
from tests.support.fakes.stub_model import draw_ct, template_set
from tests.support.paths import ROOT

AT_WORK = """
import sys
from medlsam.batch import segment_folder
from tests.support.fakes.fake_model import fake_model
from tests.support.fakes.stub_model import template_set

def tell(progress):
    print(progress.status, progress.case, flush=True)

if __name__ == "__main__":
    shard = sys.argv[3] if len(sys.argv) > 3 else None
    segment_folder(
        fake_model(), template_set(), sys.argv[1], sys.argv[2], report=False, on_progress=tell, shard=shard
    )
"""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Whoever works on the third scan does not come to its end."""
    for number, name in enumerate(("a", "b", "sleeper")):
        write_volume(draw_ct(GRID, seed=number), tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans"


@contextmanager
def at_work(scans: Path, output: Path, *shard: str) -> Iterator[None]:
    """A run of another process that sleeps over a scan while the block runs; then it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(scans), str(output), *shard],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline().strip()) != "running sleeper":
            assert line, process.wait()
        yield
        process.send_signal(signal.SIGKILL)


def test_a_second_run_is_refused_and_goes_on_once_the_first_is_killed(
    model: MedLSAM, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with at_work(scans, output):
        before = everything(output)
        for again in (
            lambda: segment(model, scans, output),
            lambda: segment(model, scans, output, overwrite=True),
            lambda: segment(model, scans, output, shard="1/3"),
            lambda: localize_folder(model, template_set(), scans, output, overwrite=True),
        ):
            with pytest.raises(UsageError, match="another run is at work in this folder"):
                again()
        assert everything(output) == before
    result = segment(model, scans, output)
    assert (result.done, result.skipped) == (("sleeper",), ("a", "b"))
    assert not [file.name for file in output.iterdir() if file.name.startswith(".")]


def test_shards_work_side_by_side(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with at_work(scans, output, "3/3"):
        for number in (1, 2):
            assert segment(model, scans, output, shard=f"{number}/3").done == ("ab"[number - 1],)
        for shard in ("3/3", None):
            with pytest.raises(UsageError, match="shard 3/3 of a run is at work"):
                segment(model, scans, output, shard=shard)
    collected = segment(model, scans, output)
    assert (collected.done, collected.skipped) == (("sleeper",), ("a", "b"))


def test_what_another_run_did_until_the_lock_was_had_is_not_done_again(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    @contextmanager
    def late(folder: Path, shard: str | None = None) -> Iterator[None]:
        monkeypatch.setattr("medlsam.batch.loop.run_lock", run_lock)
        segment(model, scans, output)
        with run_lock(folder, shard):
            yield

    monkeypatch.setattr("medlsam.batch.loop.run_lock", late)
    assert segment(model, scans, output).skipped == ("a", "b", "sleeper")
