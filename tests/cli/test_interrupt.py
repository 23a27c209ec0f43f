"""Ctrl-C in a run of the command line: says how far it came, leaves a folder to go on with, and no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medlsam.io.write import write_volume
from tests.support.command_line import GRID, document
from tests.support.fakes.stub_model import draw_ct, template_set
from tests.support.paths import ROOT
from tests.support.processes import of_session, until

#: The command line with a stub model, in a file since workers import what starts them.
PROGRAM = """
import signal
import sys
import medlsam.pipeline.model
from medlsam.cli import main
from tests.support.fakes.fake_model import fake_model

if __name__ == "__main__":
    # A run of the tests in the background ignores Ctrl-C, and so would this program.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    medlsam.pipeline.model.load = lambda options: fake_model()
    main()
"""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c(jobs: int, tmp_path: Path) -> None:
    names = ("a", "b", "sleeper", "z")
    for number, name in enumerate(names):
        write_volume(draw_ct(GRID, seed=number), tmp_path / "scans" / f"{name}.nii.gz")
    template_set().save(tmp_path / "t.medlsam")
    (tmp_path / "program.py").write_text(PROGRAM)
    output = tmp_path / "out"
    expected = ["a", "b"] if jobs == 1 else ["a", "b", "z"]
    command = [sys.executable, str(tmp_path / "program.py"), "segment"]
    command += ["--support", str(tmp_path / "t.medlsam"), "--images", str(tmp_path / "scans")]
    command += ["--output", str(output), "--jobs", str(jobs), "--json", "--verbose"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stderr is not None
        waiting = set(expected)
        while waiting:
            line = program.stderr.readline()
            assert line, program.wait()
            waiting -= {name for name in waiting if f": {name} done in " in line}
        # As a terminal does: every process gets it.
        os.killpg(program.pid, signal.SIGINT)
        answer, said = program.communicate(timeout=120)
    assert program.returncode == 130, said
    assert f"interrupted: {len(expected)} of 4 done; run the same command again to go on\n" in said
    assert "Traceback" not in said
    found: Any = json.loads(answer)
    assert found == {"interrupted": True, "exit_code": 130, "done": len(expected), "total": 4}
    until(lambda: not of_session(program.pid))
    assert sorted(f.name for f in output.iterdir() if f.is_dir()) == expected
    assert not [f.name for f in output.iterdir() if f.name.startswith(".")]
    assert sorted(json.loads((output / "run.json").read_text())["cases"]) == expected


def test_ctrl_c_before_the_first_scan(
    asked: Any, template: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.command_line import call, usual

    def interrupted(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medlsam.pipeline.model.load", interrupted)
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 130
    assert document(result) == {"interrupted": True, "exit_code": 130}
    assert not (tmp_path / "out").exists()
