"""Disks that are full or cannot be written: named scan by scan, what is done stays, and the next run goes on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medlsam.batch import segment_folder
from medlsam.errors import UsageError
from medlsam.io.write import write_volume
from medlsam.pipeline.model import MedLSAM
from tests.support.batch_runs import GRID, read
from tests.support.fakes.stub_model import draw_ct, template_set


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """``disk(options)`` mounts a small disk, or mounts it anew with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        if shutil.which("mount") is None:
            pytest.skip("no mount here")
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"small disks cannot be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.fixture
def six(tmp_path: Path) -> Path:
    for n in range(6):
        write_volume(draw_ct(GRID, seed=n), tmp_path / "scans" / f"{n}.nii.gz")
    return tmp_path / "scans"


def test_a_full_disk(model: MedLSAM, six: Path, disk: Callable[[str], Path]) -> None:
    output = disk("size=60k") / "out"
    result = segment_folder(model, template_set(), six, output)
    assert result.exit_code == 1
    assert result.done
    assert len(result.done) + len(result.failed) == 6
    for name, text in result.failed.items():
        assert f"{output / name}" in text
        assert "No space left on device" in text
        assert "give the same command again" in text
        assert not (output / name).exists()
    assert not list(output.rglob(".tmp-*"))
    assert not list(output.glob(".*.partial"))
    assert "report.html could not be written (No space left on device)" in result.warnings
    disk("remount,size=4m")
    again = segment_folder(model, template_set(), six, output)
    assert set(again.done) == set(result.failed)
    assert again.skipped == result.done
    assert not again.failed
    assert all(record["status"] == "done" for record in read(output / "run.json")["cases"].values())


def test_a_disk_that_cannot_be_written(model: MedLSAM, six: Path, disk: Callable[[str], Path]) -> None:
    place = disk("size=1m")
    disk("remount,ro")
    with pytest.raises(UsageError, match=r"out: cannot be used for the output \(Read-only file system\)"):
        segment_folder(model, template_set(), six, place / "out")


def test_a_scan_that_may_not_be_read(
    model: MedLSAM, six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *more: object, **named: object) -> object:
        if path.name == "3.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    result = segment_folder(model, template_set(), six, tmp_path / "out", report=False)
    assert list(result.failed) == ["3"]
    assert "3.nii.gz: cannot be read (Permission denied)" in result.failed["3"]
    assert "traceback" not in read(tmp_path / "out" / "run.json")["cases"]["3"]["error"]


def test_too_little_memory_for_a_scan(
    model: MedLSAM, six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medlsam.io import cases

    read_image = cases.read_image

    def hungry(path: Path) -> object:
        if path.name == "2.nii.gz":
            raise MemoryError("64 GiB")
        return read_image(path)

    monkeypatch.setattr(cases, "read_image", hungry)
    result = segment_folder(model, template_set(), six, tmp_path / "out", report=False)
    assert "2.nii.gz: too large for the memory of this machine" in result.failed["2"]
    assert len(result.done) == 5
