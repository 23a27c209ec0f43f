"""kill -9 of a process that annotates, at random moments: what it was told was saved is there."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_json, read_label_names
from medlsam.io.labelled_scans import POINTS_FILE
from medlsam.io.read import read_image
from medlsam.viewer.annotate.folder import AnnotatedFolder
from medlsam.viewer.annotate.marks import StructureMarks
from tests.support.web.annotating import click_forever, write_scans

ROUNDS = 20
State = dict[str, dict[str, StructureMarks]]


def after(state: State, step: list[Any]) -> State:
    """The state after one step: case to structure to its answer."""
    what, case, name, face, point, new = step
    state = {own: dict(answers) for own, answers in state.items()}
    if what == "place":
        before = state[case].get(name, StructureMarks())
        state[case][name] = before.with_point(tuple(point), face)
    elif what == "absent":
        state[case][name] = StructureMarks(absent=True)
    else:
        for own in state:
            state[own] = {new if other == name else other: marks for other, marks in state[own].items()}
    return state


def kept(scans: Path, output: Path) -> State:
    """What a new session finds."""
    with AnnotatedFolder(find_cases(scans), output) as project:
        found = {case: project.scan(case) for case in project.cases}
    assert not any(scan.fault for scan in found.values())
    return {
        case: {name: marks for name, marks in scan.marks.items() if marks.points or marks.absent}
        for case, scan in found.items()
    }


def check_files(output: Path) -> None:
    """Every file that has its name is whole."""
    for path in output.glob("*/image.*"):
        assert read_image(path).array.shape == (20, 24, 28)
    for path in output.glob("*/" + POINTS_FILE):
        assert read_json(path, ValueError)["markups"]
    if (output / "labels.json").exists():
        assert read_label_names(output / "labels.json")


@pytest.mark.slow
def test_no_acknowledged_click_is_lost(tmp_path: Path) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    write_scans(scans, 2)
    state: State = {"scan_1": {}, "scan_2": {}}
    chance, steps, interrupted = random.Random(5), 0, 0
    # Forked from a clean process that has imported everything: twenty starts of Python would take most of the time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.web.annotating"])
    for number in range(ROUNDS):
        heard, told = context.Pipe(duplex=False)
        process = context.Process(target=click_forever, args=(scans, output, number, told))
        process.start()
        told.close()
        messages = []
        # Not by the clock alone, since a busy machine may do nothing for long.
        for _ in range(chance.randrange(1, 60)):
            messages.append(heard.recv())
        time.sleep(chance.uniform(0, 0.01))
        process.kill()
        with contextlib.suppress(EOFError):
            while True:
                messages.append(heard.recv())
        process.join()
        assert process.exitcode == -signal.SIGKILL
        check_files(output)
        pending = None
        for message in messages[1:]:
            if message == "done":
                assert pending is not None
                state, pending, steps = after(state, pending), None, steps + 1
            else:
                pending = message
        found = kept(scans, output)
        possible = [state] if pending is None else [state, after(state, pending)]
        interrupted += pending is not None
        assert found in possible, (number, pending)
        state = found
        assert list(output.glob("**/.tmp-*")) == []
    # Enough was done for the above to mean something.
    assert steps > 200
    assert interrupted > 5
