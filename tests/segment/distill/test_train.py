"""Training of the student: resumed as if never killed; crops that do not depend on who draws them; the split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medlsam.errors import MedlsamError, UsageError
from medlsam.measure.metrics import dice
from medlsam.segment.distill import train as module
from medlsam.segment.distill.labels import Labelling, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.prompts import plan
from medlsam.segment.distill.samples import Draws
from medlsam.segment.distill.score import agreement
from medlsam.segment.distill.split import split
from medlsam.segment.sam_tiny import train_samples
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.training.losses import hard_dice
from tests.support.data.distill_data import bright_things
from tests.support.data.tuning_data import SMALL
from tests.support.fakes.fake_teacher import FakeTeacher

CPU = torch.device("cpu")
QUICK = DistillOptions(
    steps=6, batch_size=2, learning_rate=1e-3, warmup_steps=2, slices_per_scan=2, prompts_per_slice=4
)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> list[TaughtScan]:
    folder, found = tmp_path_factory.mktemp("masks"), []
    for seed in range(3):
        image = bright_things(seed)
        planned = plan(image, QUICK, np.random.default_rng(seed))
        labelling = Labelling(FakeTeacher(), folder, 3.0, 9, lambda text: None)
        found.append(labelling.label(f"s{seed}", f"p{seed}", image, planned, 3))
        found[-1].judge(0.7)
    return found


@pytest.fixture
def fit(taught: list[TaughtScan], start: Path, tmp_path: Path) -> Callable[..., dict[str, Tensor]]:
    student = TinySegmenter.load(start)

    def run(
        name: str = "a", options: DistillOptions = QUICK, say: Callable[[str], None] = lambda text: None
    ) -> dict[str, Tensor]:
        return module.train(student, start, taught, options, CPU, tmp_path / name, say)[0]

    return run


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_weight_of_the_student_is_trained(fit: Callable[..., dict[str, Tensor]], start: Path) -> None:
    before, after = TinySegmenter.load(start).net.state_dict(), fit()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed >= {"encoder", "prompt_encoder", "decoder"}


def test_the_same_seed_gives_the_same_weights(fit: Callable[..., dict[str, Tensor]]) -> None:
    first = fit("a")
    assert equal(first, fit("b"))
    assert not equal(first, fit("c", DistillOptions(**{**vars(QUICK), "seed": 1})))


def test_a_killed_training_goes_on_as_if_it_had_not_been(
    fit: Callable[..., dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_STEPS", 3)
    monkeypatch.setattr(module, "_SAID_STEPS", 1)
    unbroken = fit("a")
    told: list[str] = []

    class KilledError(Exception):
        pass

    def until_step_four(text: str) -> None:
        told.append(text)
        if text.startswith("step 4"):
            raise KilledError

    with pytest.raises(KilledError):
        fit("b", say=until_step_four)
    left = list((tmp_path / "b").glob("*.ckpt"))
    assert len(left) == 1
    # an unlike training does not take this checkpoint
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    told.clear()
    fit("c", DistillOptions(**{**vars(QUICK), "learning_rate": 2e-3}), told.append)
    assert "going on from the last checkpoint" not in told
    told.clear()
    assert equal(fit("b", say=told.append), unbroken)
    assert told[0] == "going on from the last checkpoint"
    assert [text.split(",")[0] for text in told[1:]] == ["step 4 of 6", "step 5 of 6", "step 6 of 6"]


def test_crops_depend_on_the_seed_and_their_number_alone(taught: list[TaughtScan]) -> None:
    whole = list(islice(Draws(taught, SMALL, QUICK), 40))
    later = list(islice(Draws(taught, SMALL, QUICK, first=4), 4))
    for one, other in zip(later, whole[4:], strict=False):
        torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)
    assert all((draw["mask"] > 0.5).any() for draw in whole)
    # exact boxes and others, of which it is told; vague ones are those that it keeps to its own answer for
    assert any(draw["error"] == 0 for draw in whole)
    assert all(draw["error"] > 0 for draw in whole if draw["keep"])
    assert 0 < sum(bool(draw["keep"]) for draw in whole) < 40
    assert any(draw["mask_prompt"].isnan().all() for draw in whole)


@pytest.mark.parametrize(("moved", "least", "most"), [(False, 0.8, 1.0), (True, 0.5, 0.8)])
def test_a_mask_prompt_is_the_mask_out_of_place(
    taught: list[TaughtScan], monkeypatch: pytest.MonkeyPatch, moved: bool, least: float, most: float
) -> None:
    if not moved:
        monkeypatch.setattr(train_samples, "jitter", lambda box, share, rng: box)
    options = DistillOptions(**{**vars(QUICK), "exact": 1.0, "keep": 0.0})
    made = [
        draw for draw in islice(Draws(taught, SMALL, options), 40) if not draw["mask_prompt"].isnan().any()
    ]
    assert len(made) > 8
    overlap = []
    for draw in made:
        rough = torch.nn.functional.interpolate(draw["mask_prompt"][None, None], size=SMALL.size)[0]
        overlap.append(hard_dice(rough - 0.5, draw["mask"][None]).item())
    assert least < np.median(overlap) < most, overlap


def test_the_number_of_loaders_changes_nothing(taught: list[TaughtScan]) -> None:
    draws = Draws(taught, SMALL, QUICK)
    alone, two = (list(islice(DataLoader(draws, 2, num_workers=n), 4)) for n in (0, 2))
    torch.testing.assert_close(alone, two, equal_nan=True, rtol=0, atol=0)


def test_vague_boxes_are_answered_as_before(taught: list[TaughtScan], start: Path) -> None:
    """The targets of crops to keep are the first answers, whatever the teacher says of them."""
    training = module.Distillation(SMALL, init_from=str(start))
    batch = next(iter(DataLoader(Draws(taught, SMALL, DistillOptions(keep=1.0, batch_size=4)), 4)))
    other = {**batch, "mask": 1 - batch["mask"]}
    torch.testing.assert_close(training.losses(batch), training.losses(other))
    taught_batch = {**batch, "keep": torch.zeros(4, dtype=torch.bool)}
    assert (
        training.losses(taught_batch)["loss"]
        != training.losses({**other, "keep": taught_batch["keep"]})["loss"]
    )
    assert not training.start.training
    assert not any(p.requires_grad for p in training.start.parameters())


def test_a_training_that_diverges_says_so(fit: Callable[..., dict[str, Tensor]]) -> None:
    with pytest.raises(MedlsamError, match="diverged at learning_rate 1e\\+30"):
        fit(options=DistillOptions(**{**vars(QUICK), "learning_rate": 1e30}))


class Echo(TinySegmenter):
    """Answers every box with the box itself."""

    def _decode(self, embedding, batch, masks):  # type: ignore[no-untyped-def]
        boxes, places = self._boxes(batch), torch.arange(self.config.size) + 0.5
        x0, y0, x1, y1 = boxes.T[:, :, None]
        columns, rows = (places > x0) & (places < x1), (places > y0) & (places < y1)
        return torch.where(rows[:, :, None] & columns[:, None, :], 9.0, -9.0)


def test_agreement_is_the_dice_with_the_teachers_masks(taught: list[TaughtScan], start: Path) -> None:
    """Of boxes as answers it is that of each mask with its tight box; less where boxes are moved."""
    found = agreement(Echo(TinySegmenter.load(start).net), taught, 0)
    for own in taught:
        expected = []
        for mask in (own.mask(index).pixels for index in own.kept):
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            box = np.zeros_like(mask)
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            expected.append(dice(box, mask))
        assert found.exact[own.patient] == pytest.approx(np.mean(expected), abs=0.03)
        assert found.jittered[own.patient] < found.exact[own.patient]
    assert found.mean == pytest.approx(np.mean([*found.exact.values(), *found.jittered.values()]))


def scan(name: str, patient: str) -> TaughtScan:
    return TaughtScan(name, patient, Path("none"), (1.0, 1.0, 1.0))


def names(scans: Sequence[TaughtScan]) -> list[str]:
    return [own.name for own in scans]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_patient_is_on_both_sides(share: float, seed: int) -> None:
    scans = [scan(f"s{k}", f"p{k // 2}") for k in range(10)]
    training, judging = split(scans, None, share, seed)
    assert sorted(names([*training, *judging])) == names(scans)
    assert training
    assert judging
    assert not {own.patient for own in training} & {own.patient for own in judging}
    assert len(judging) == 2 * min(max(1, round(5 * share)), 4)


def test_named_scans_judge() -> None:
    scans = [scan("a", "p"), scan("b", "q"), scan("c", "q")]
    assert names(split(scans, ["a"], 0.2, 0)[1]) == ["a"]
    with pytest.raises(UsageError, match="q would be trained on as well"):
        split(scans, ["b"], 0.2, 0)
    with pytest.raises(UsageError, match="no usable scan is left to train on"):
        split(scans, ["a", "b", "c"], 0.2, 0)
    with pytest.raises(UsageError, match="no usable scan is left to judge by; usable are a, b, c"):
        split(scans, ["d"], 0.2, 0)
    with pytest.raises(UsageError, match="usable scans of two patients.*there is q"):
        split(scans[1:], None, 0.2, 0)
