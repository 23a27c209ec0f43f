"""Corrections are saved with every edit, made again later, and become a labelled dataset once they are accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

import medlsam
from medlsam.errors import UsageError
from medlsam.export.run_results import read_results
from medlsam.io.label_names import read_label_names
from medlsam.io.labelled_scans import find_templates
from medlsam.io.labels import read_label_map
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.atomic_files import sha256_of
from medlsam.viewer.correct_routes import JUDGE_ONE_IN, Job, judges_it
from medlsam.viewer.corrections import Corrections
from medlsam.viewer.open_scans import OpenScans
from medlsam.viewer.view_routes import ViewPage
from tests.support.web.served import Client, served


@pytest.fixture(scope="module")
def model() -> MedLSAM:
    return medlsam.load(device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "corrected"


@pytest.fixture
def corrections(results: Path, folder: Path, model: MedLSAM) -> Iterator[Corrections]:
    made = Corrections(OpenScans(read_results(results)), folder, lambda: model)
    yield made
    made.close()


def place(corrections: Corrections, name: str) -> int:
    return [case.name for case in corrections.results.cases].index(name)


def voxels(corrections: Corrections, index: int, name: str) -> Any:
    part, origin = corrections.session(index).mask(name)
    return part.tolist(), origin


def shifted(corrections: Corrections, index: int, name: str, mm: float) -> dict[str, Any]:
    """The box of a structure with one face elsewhere."""
    box = corrections.session(index).structures[name].box
    assert box is not None
    low, high = box.to_dict()["min"], box.to_dict()["max"]
    return {"box": {"min": low, "max": [high[0] + mm, *high[1:]]}}


def test_edits_are_made_again_by_another_process(
    corrections: Corrections, results: Path, folder: Path, model: MedLSAM
) -> None:
    index = place(corrections, "a")
    center = list(corrections.session(index).structures["plate"].box.center)  # type: ignore[union-attr]
    corrections.edit(index, "plate", "box", shifted(corrections, index, "plate", 4.0))
    corrections.edit(index, "plate", "click", {"point": center, "inside": False})
    corrections.edit(index, "block", "absent", {})
    corrections.edit(index, "block", "undo", {})
    corrections.accept(index, "plate")
    expected = {name: voxels(corrections, index, name) for name in ("plate", "block")}
    states = corrections.session(index).structures
    corrections.close()
    again = Corrections(OpenScans(read_results(results)), folder, lambda: model)
    assert again.begun(index)
    assert {name: voxels(again, index, name) for name in expected} == expected
    assert again.session(index).structures["plate"] == states["plate"]
    assert again.session(index).structures["block"].edits == 0
    assert not again.begun(place(again, "b & <b>"))
    again.edit(index, "plate", "undo", {})
    entries = json.loads((folder / "a" / "edits.json").read_text())["edits"]
    assert [(own["action"], own["number"]) for own in entries] == [("box", 1)]
    again.close()


def test_accepted_masks_are_a_templates_folder(corrections: Corrections, folder: Path) -> None:
    assert corrections.accepted == []
    for case, names in (("a", ("plate", "block")), ("b & <b>", ("block",))):
        for name in names:
            corrections.accept(place(corrections, case), name)
    assert corrections.accepted == ["a", "b & <b>"]
    cases, names_ = find_templates(folder)
    assert {case.name for case in cases} == {"a", "b & <b>"}
    assert set(names_.values()) == {"plate", "block"}
    labels = read_label_map(folder / "a" / "labels.nii.gz")
    values = {name: value for value, name in read_label_names(folder / "labels.json").items()}
    part, _ = corrections.session(place(corrections, "a")).mask("plate")
    assert (labels.array == values["plate"]).sum() == part.sum()
    corrections.accept(place(corrections, "a"), "plate", accepted=False)
    assert set(np.unique(read_label_map(folder / "a" / "labels.nii.gz").array)) == {0, values["block"]}
    corrections.accept(place(corrections, "a"), "block", accepted=False)
    assert corrections.accepted == ["b & <b>"]


def test_damaged_edits_are_left_and_named(corrections: Corrections, results: Path, folder: Path) -> None:
    (folder / "a").mkdir(parents=True)
    masks = sha256_of(results / "a" / "segmentation.nii.gz")
    edit = {"structure": "no", "action": "clear", "number": 1}
    unknown = {"format": 1, "masks": masks, "edits": [edit], "accepted": []}
    for content in ("{", '{"format": 9}', json.dumps(unknown)):
        (folder / "a" / "edits.json").write_text(content)
        with pytest.raises(UsageError, match="edits.json: the corrections in it cannot be made again"):
            corrections.session(place(corrections, "a"))
        assert (folder / "a" / "edits.json").read_text() == content
    with pytest.raises(UsageError, match="no voxel spacing"):
        corrections.session(place(corrections, "c<img src=x>"))


def test_edits_belong_to_the_masks_that_they_were_made_on(
    corrections: Corrections, results: Path, folder: Path, model: MedLSAM
) -> None:
    index = place(corrections, "a")
    corrections.edit(index, "plate", "absent", {})
    corrections.close()
    file = folder / "a" / "edits.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"masks": "of another run"}))
    again = Corrections(OpenScans(read_results(results)), folder, lambda: model)
    with pytest.raises(UsageError, match="segmented anew since"):
        again.session(index)


def test_an_edit_takes_an_accepted_mask_out_of_the_labels(corrections: Corrections, folder: Path) -> None:
    index = place(corrections, "a")
    for name in ("plate", "block"):
        corrections.accept(index, name)
    corrections.edit(index, "plate", "box", shifted(corrections, index, "plate", 4.0))
    values = {name: value for value, name in read_label_names(folder / "labels.json").items()}
    assert set(np.unique(read_label_map(folder / "a" / "labels.nii.gz").array)) == {0, values["block"]}
    corrections.accept(index, "plate")
    assert values["plate"] in np.unique(read_label_map(folder / "a" / "labels.nii.gz").array)
    for name in ("plate", "block"):
        corrections.edit(index, name, "absent", {})
    assert corrections.accepted == []


def test_one_process_writes_to_a_folder(
    corrections: Corrections, results: Path, folder: Path, model: MedLSAM
) -> None:
    index = place(corrections, "a")
    corrections.edit(index, "plate", "absent", {})
    other = Corrections(OpenScans(read_results(results)), folder, lambda: model)
    with pytest.raises(UsageError, match="at work"):
        other.edit(index, "plate", "undo", {})
    corrections.close()
    other.edit(index, "plate", "undo", {})
    other.close()


def test_the_page_corrects_and_a_tab_that_is_behind_is_refused(
    results: Path, corrections: Corrections
) -> None:
    with served([*ViewPage(read_results(results), corrections).routes()]) as client:
        index = place(corrections, "a")
        state = client.ask(f"/api/case/{index}/session").json()
        assert state["structures"]["plate"]["edits"] == 0
        answer = post(client, index, "absent", {"structure": "plate", "seen": state["seen"]})
        assert answer.status == 200
        assert answer.json()["structures"]["plate"]["absent"]
        behind = post(client, index, "undo", {"structure": "plate", "seen": state["seen"]})
        assert behind.status == 409
        assert "another tab" in behind.json()["error"]
        assert behind.json()["seen"] == answer.json()["seen"]
        assert corrections.session(index).structures["plate"].absent
        # the slice is drawn as it is corrected
        lines = client.ask(f"/api/case/{index}/outlines/axial/11").json()["lines"]
        assert lines["plate"] == []
        for body, words in (
            ({"structure": "plate", "point": [0, 0, 0]}, "another tab"),
            ({"structure": "", "seen": 1}, "structure: a text is needed"),
            ({"structure": "nothing", "seen": 1, "point": [0, 0, 0]}, "there is no structure 'nothing'"),
            ({"structure": "plate", "seen": 1, "point": [0, 0]}, "point: three numbers"),
            ({"structure": "plate", "seen": 1, "point": [0, 0, "a"]}, "point: a number is needed"),
            ({"structure": "plate", "seen": 1, "point": [0, 0, 1e400]}, "a number is needed"),
        ):
            wrong = post(client, index, "click", body)
            assert wrong.status in (400, 409)
            assert words in wrong.json()["error"]
        assert "no mask is accepted yet" in finished(client, "/api/templates")
        assert "two to train on and one that judges" in finished(client, "/api/finetune")


def post(client: Client, index: int, action: str, body: dict[str, Any]) -> Any:
    return client.ask(f"/api/case/{index}/{action}", "POST", body)


def finished(client: Client, path: str) -> str:
    assert client.ask(path, "POST", {}).status == 200
    while (job := client.ask("/api/job").json())["running"]:
        pass
    return str(job["text"])


def test_one_piece_of_work_at_a_time() -> None:
    job = Job()
    job.start("long", lambda say: finish(say))
    with pytest.raises(UsageError, match="long still runs"):
        job.start("other", lambda say: "")
    go.append(1)
    while job.state()["running"]:
        pass
    assert job.state() == {"name": "long", "running": False, "text": "done", "failed": False}
    job.start("wrong", lambda say: str(1 / 0))
    while job.state()["running"]:
        pass
    assert job.state()["failed"]
    assert "ZeroDivisionError" in job.state()["text"]


go: list[int] = []


def finish(say: Any) -> str:
    while not go:
        say("waiting")
    return "done"


def test_a_quarter_of_the_scans_judges_always() -> None:
    names = [f"case_{number}" for number in range(1000)]
    judges = [name for name in names if judges_it(name)]
    assert len(judges) == pytest.approx(1000 / JUDGE_ONE_IN, rel=0.2)
    assert judges == [name for name in names if judges_it(name)]


def test_pictures_do_not_wait_for_corrections_that_are_made_again(
    corrections: Corrections, results: Path, folder: Path, model: MedLSAM
) -> None:
    index = place(corrections, "a")
    corrections.edit(index, "plate", "absent", {})
    corrections.close()
    let_go = Event()

    def load() -> MedLSAM:
        assert let_go.wait(30)
        return model

    scans = OpenScans(read_results(results))
    again = Corrections(scans, folder, load)
    with served([*ViewPage(scans.results, again, scans).routes()]) as client:
        path = f"/api/case/{index}/outlines/axial/11"
        waiting = client.ask(path).json()
        assert waiting["lines"] is None, "the masks of the run would be wrong"
        assert "made again" in waiting["pending"]
        assert client.ask(f"/api/case/{index}/slice/axial/11?low=0&high=100").status == 200
        let_go.set()
        while (answer := client.ask(path).json())["lines"] is None:
            pass
        assert answer["lines"]["plate"] == []
        again.close()
        (folder / "a" / "edits.json").write_text("{")
    broken = Corrections(scans, folder, lambda: model)
    with served([*ViewPage(scans.results, broken, scans).routes()]) as client:
        while (told := client.ask(path)).status == 200:
            pass
        assert "cannot be made again" in told.json()["error"]
