"""Ctrl-C at the worst moments of a run: nothing half-written stays, and the next run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from medlsam.pipeline.model import MedLSAM
from tests.support.batch_runs import segment
from tests.support.interrupts import after_making


@pytest.mark.parametrize("broken", ["mkdir", "clean-up"])
def test_ctrl_c_around_a_hidden_folder_leaves_none(
    broken: str, model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "mkdir":
        after_making(monkeypatch, "mkdir", ".b", ".partial")
    else:
        # Ctrl-C while the folder of a scan that failed is removed, so that some of it stays.
        removed = shutil.rmtree

        def interrupted(path: Any, ignore_errors: bool = False) -> None:
            if Path(path).name == ".b.partial" and Path(path).exists():
                monkeypatch.setattr(shutil, "rmtree", removed)
                raise KeyboardInterrupt
            removed(path, ignore_errors=ignore_errors)

        def fails(*args: Any, **more: Any) -> None:
            monkeypatch.setattr(shutil, "rmtree", interrupted)
            raise OSError("full")

        monkeypatch.setattr("medlsam.batch.api.write_json", fails)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        segment(model, scans, output)
    assert not [f.name for f in output.iterdir() if f.name.startswith(".")]


def test_ctrl_c_before_the_first_scan_leaves_a_folder_to_go_on_with(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("medlsam.batch.loop.write_itksnap_labels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            segment(model, scans, output)
    # One of them alone would be taken for a folder of templates, and the next run refused.
    names = {f.name for f in output.iterdir()}
    assert names >= {"labels.json", "run.json"}
    assert segment(model, scans, output).done == ("a", "b", "c")
