"""Training: it overfits, goes on after a kill, takes over what fits of other lesions, and what it wrote segments."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from medlsam.errors import UsageError, VolumeError, WeightsError
from medlsam.geometry import Grid
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.lesion.inception.config import InceptionConfig
from medlsam.lesion.inception.network import InceptionUNet
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.lesion.inception.segment import load_network, segment_scan, segment_scans
from medlsam.lesion.inception.train import main, save_network
from medlsam.lesion.inception.transfer import HEADS, start_from
from medlsam.training.schedule import linear_decay
from medlsam.volume.resample import resample
from medlsam.weights.store import load_weights, save_weights
from tests.lesion.inception.conftest import arguments, weights_in
from tests.support.data.lesion_data import write_blobs


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.slow
def test_it_overfits_two_scans(two_scans: Path, overfitted: Path, tmp_path: Path) -> None:
    done = list(segment_scans(two_scans, [overfitted], tmp_path, device="cpu"))
    assert [one.status for one in done] == ["done", "done"]
    for one in done:
        found, truth = read_label_map(one.path), read_label_map(two_scans / "labelsTr" / f"{one.case}.nii.gz")
        assert found.grid.matches(truth.grid, 1e-4)
        for value in (1, 2):
            assert dice(found.array == value, truth.array == value) > 0.9
        truth_ml = (truth.array == 1).sum() * 12 / 1000
        assert one.volumes_ml["liver cyst"] == pytest.approx(truth_ml, rel=0.2)
    assert (tmp_path / "labels.json").is_file()
    again = list(segment_scans(two_scans, [overfitted], tmp_path, device="cpu"))
    assert [one.status for one in again] == ["skipped", "skipped"]


@pytest.mark.slow
def test_an_oblique_scan_of_another_spacing_gets_its_own_grid(two_scans: Path, overfitted: Path) -> None:
    network = load_network(overfitted, "cpu")
    image = read_image(two_scans / "imagesTr" / "case0_0000.nii.gz")
    truth = read_label_map(two_scans / "labelsTr" / "case0.nii.gz")
    c, s = np.cos(0.2), np.sin(0.2)
    middle = np.asarray(image.grid.box.center)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]])
    origin = middle - direction @ (np.array([50, 46, 30]) * np.array([1.6, 1.7, 2.2]) / 2)
    grid = Grid((30, 46, 50), (1.6, 1.7, 2.2), tuple(float(v) for v in origin), tuple(direction.ravel()))  # type: ignore[arg-type]
    oblique = resample(image, grid)
    found = segment_scan(oblique, [network])
    assert found.grid == grid
    expected = resample(truth, grid).array
    assert dice(found.array == 1, expected == 1) > 0.75


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_its_networks(two_scans: Path, overfitted: Path, tmp_path: Path) -> None:
    image = read_image(two_scans / "imagesTr" / "case0_0000.nii.gz")
    network = load_network(overfitted, "cpu")
    alone = segment_scan(image, [network]).array
    np.testing.assert_array_equal(segment_scan(image, [network, network]).array, alone)
    # A network that always says background as firmly as it can takes part: what was not sure goes.
    state, config = load_weights(overfitted, "lesion-network")
    state[f"{HEADS}1.bias"] = torch.tensor([1e4, 0.0, 0.0])
    save_weights(tmp_path / "shy.safetensors", state, config, kind="lesion-network")
    shy = load_network(tmp_path / "shy.safetensors", "cpu")
    assert segment_scan(image, [shy]).array.max() == 0
    assert segment_scan(image, [network, shy, shy]).array.max() == 0
    config["plan"]["names"] = [[1, "something else"], [2, "kidney stone"]]
    save_weights(tmp_path / "other.safetensors", state, config, kind="lesion-network")
    with pytest.raises(UsageError, match=r"different lesions.*something else"):
        segment_scan(image, [network, load_network(tmp_path / "other.safetensors", "cpu")])


@pytest.mark.slow
def test_a_scan_that_cannot_be_read_does_not_stop_the_others(
    two_scans: Path, overfitted: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a_0000.nii.gz").write_bytes(b"nothing")
    (scans / "b_0000.nii.gz").write_bytes((two_scans / "imagesTr" / "case0_0000.nii.gz").read_bytes())
    done = {one.case: one for one in segment_scans(scans, [overfitted], tmp_path / "out", device="cpu")}
    assert done["a"].status == "failed"
    assert "a_0000.nii.gz" in str(done["a"].error)
    assert done["b"].status == "done"
    for content, said in (('{"1": "spleen"}', "other lesions"), ("{", "cannot be read as JSON")):
        (tmp_path / "out" / "labels.json").write_text(content)
        with pytest.raises(UsageError, match=said):
            list(segment_scans(scans, [overfitted], tmp_path / "out", device="cpu"))
    with pytest.raises(VolumeError):
        read_image(scans / "a_0000.nii.gz")


@pytest.mark.slow
def test_what_nobody_foresaw_in_one_scan_does_not_cost_the_others(
    two_scans: Path, overfitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def window(volume: np.ndarray, *given: object, **more: object) -> np.ndarray:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("too large")
        answer = np.zeros((3, *volume.shape), np.float32)
        answer[2] = 1
        return answer

    monkeypatch.setattr("medlsam.lesion.inception.segment.sliding_window", window)
    first, second = segment_scans(two_scans, [overfitted], tmp_path, device="cpu")
    assert first.status == "failed"
    assert "case0_0000.nii.gz: MemoryError: too large" in str(first.error)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["case1.nii.gz", "labels.json"]
    assert second.status == "done"
    # Up to the scan's borders, all of it is what the network said.
    assert (read_label_map(second.path).array == 2).all()


@pytest.mark.slow
def test_a_label_map_never_replaces_a_scan(two_scans: Path, overfitted: Path, tmp_path: Path) -> None:
    scan = tmp_path / "a.nii.gz"
    scan.write_bytes((two_scans / "imagesTr" / "case0_0000.nii.gz").read_bytes())
    before = scan.read_bytes()
    with pytest.raises(UsageError, match=r"a\.nii\.gz is a scan, which its label map would replace"):
        list(segment_scans(tmp_path, [overfitted], tmp_path, device="cpu", overwrite=True))
    assert scan.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]
    with pytest.raises(UsageError, match="is a file; give a folder"):
        list(segment_scans(tmp_path, [overfitted], scan, device="cpu"))


@pytest.mark.slow
def test_a_training_that_was_killed_ends_with_the_same_weights(two_scans: Path, tmp_path: Path) -> None:
    def fit(name: str, limit: int, *more: str) -> Path:
        every = (
            "--data.batches=2", "--trainer.limit_val_batches=0", f"--trainer.max_steps={limit}",
            "--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=2",
            "--trainer.callbacks.save_top_k=-1",
        )  # fmt: skip
        main(arguments(two_scans, tmp_path / name, 2, *every, *more))
        return max((tmp_path / name).rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)

    unbroken = fit("whole", 4)
    killed = next((tmp_path / "whole").rglob("*step=2.ckpt"))
    resumed = fit("rest", 4, f"--ckpt_path={killed}")
    one, other = (torch.load(file, weights_only=True) for file in (unbroken, resumed))
    assert one["global_step"] == other["global_step"] == 4
    torch.testing.assert_close(one["state_dict"], other["state_dict"], rtol=0, atol=0)
    # A checkpoint exports to the same network as the end of the training.
    main(["export", str(unbroken), str(tmp_path / "exported.safetensors")])
    ended, exported = (
        load_weights(f, "lesion-network")
        for f in (weights_in(tmp_path / "whole"), tmp_path / "exported.safetensors")
    )
    torch.testing.assert_close(ended[0], exported[0])
    assert ended[1] == exported[1]
    # Other lesions in as many classes: shapes alone would let it pass.
    other = write_blobs(tmp_path / "other", 2, {"background": 0, "tumour": 1, "kidney stone": 2})
    with pytest.raises(WeightsError, match=r"step=2\.ckpt is of a training with names .*liver cyst.*tumour"):
        main(arguments(other, tmp_path / "more", 2, "--data.batches=2", f"--ckpt_path={killed}"))
    assert not list((tmp_path / "more").rglob("lesions.safetensors"))


@pytest.mark.slow
def test_validation_is_logged_by_class(two_scans: Path, tmp_path: Path) -> None:
    main(arguments(two_scans, tmp_path, 1, "--data.batches=1", "--trainer.enable_checkpointing=false"))
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        row = list(csv.DictReader(file))[-1]
    assert {"val/dice", "val/dice/liver cyst", "val/dice/kidney stone"} <= set(row)
    assert 0 <= float(row["val/dice"]) <= 1


@pytest.mark.slow
def test_weights_of_other_lesions_are_a_beginning(
    overfitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pretrain on one label set, fine-tune on another: the body and the lesion in common are there from the start."""
    other = write_blobs(tmp_path / "other", 2, {"background": 0, "stone": 1, "liver cyst": 2})
    with caplog.at_level(logging.WARNING):
        main(
            arguments(
                other, tmp_path, 1, "--data.batches=1", "--trainer.limit_val_batches=0",
                "--trainer.enable_checkpointing=false", f"--model.init_from={overfitted}", "--model.learning_rate=0",
                "--model.weight_decay=0",
            )
        )  # fmt: skip
    told = "the heads (decoder.seg_layers.*) of stone begin new, those of liver cyst are taken over"
    assert told in caplog.text
    before, after = (load_weights(file, "lesion-network")[0] for file in (overfitted, weights_in(tmp_path)))
    heads = [key for key in before if key.startswith(HEADS)]
    assert len(heads) == 4
    for key, tensor in after.items():
        if key in heads:
            assert torch.equal(tensor[0], before[key][0])
            assert torch.equal(tensor[2], before[key][1])
            assert "weight" not in key or not torch.equal(tensor[1], before[key][2])
        elif "running" not in key and "batches" not in key:
            torch.testing.assert_close(tensor, before[key], msg=key)


def test_weights_that_cannot_begin_are_named(tmp_path: Path) -> None:
    network = InceptionUNet(InceptionConfig(widths=(4, 6), blocks=(1, 1)), 3)
    wider = InceptionUNet(InceptionConfig(widths=(4, 8), blocks=(1, 1)), 3)
    plan = {
        "spacing_xyz": [1, 1, 1], "hu_range": [0, 1], "mean": 0, "std": 1, "patch_zyx": [8, 8, 8],
        "names": [[1, "a"], [2, "b"]],
    }  # fmt: skip
    save_weights(
        tmp_path / "w.safetensors", wider.state_dict(), {"plan": plan, "net": {}}, kind="lesion-network"
    )
    with pytest.raises(WeightsError, match="does not fit this network"):
        start_from(network, tmp_path / "w.safetensors", ["a", "b"])
    torch.save(
        {"network_weights": network.state_dict(), "state_dict": network.state_dict()}, tmp_path / "n.pth"
    )
    with pytest.raises(WeightsError, match="checkpoint of nnU-Net, for nnUNetv2_train -pretrained_weights"):
        start_from(network, tmp_path / "n.pth", ["a", "b"])
    save_weights(tmp_path / "s.safetensors", wider.state_dict(), {}, kind="segmenter")
    with pytest.raises(WeightsError, match="holds a segmenter, a lesion-network is wanted"):
        load_network(tmp_path / "s.safetensors")


def test_a_network_of_more_classes_begins_with_what_is_in_common(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = InceptionConfig(widths=(4, 6, 8), blocks=(1, 1, 1))
    before = InceptionUNet(config, 3)
    plan = ScanPlan((1.0, 1.0, 1.0), (0.0, 1.0), 0.0, 1.0, (8, 8, 8), ((1, "cyst"), (4, "stone")))
    save_network(tmp_path / "w.safetensors", before.state_dict(), config, plan)
    for names, told in (
        (
            ["node", "stone", "tumour", "cyst"],
            "of node, tumour begin new, those of stone, cyst are taken over",
        ),
        (["cyst"], "of no lesion begin new, those of cyst are taken over"),
        (["node"], "of node begin new"),
    ):
        caplog.clear()
        after = InceptionUNet(config, len(names) + 1)
        fresh = {key: tensor.clone() for key, tensor in after.state_dict().items()}
        start_from(after, tmp_path / "w.safetensors", names)
        assert told in caplog.text
        saved = load_weights(tmp_path / "w.safetensors", "lesion-network")[0]
        for key, tensor in after.state_dict().items():
            if not key.startswith(HEADS):
                assert torch.equal(tensor, saved[key]), key
                continue
            assert torch.equal(tensor[0], saved[key][0])
            for row, name in enumerate(names, start=1):
                known = {"cyst": saved[key][1], "stone": saved[key][2]}
                assert torch.equal(tensor[row], known.get(name, fresh[key][row])), (key, name)


def test_what_cannot_be_exported_is_named(two_scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="export takes CHECKPOINT and FILE"):
        main(["export", "last.ckpt"])
    with pytest.raises(WeightsError, match=r"last\.ckpt: there is no such file"):
        main(["export", str(tmp_path / "last.ckpt"), str(tmp_path / "out.safetensors")])
    with pytest.raises(WeightsError, match="a checkpoint of medlsam.lesion.inception.train is wanted"):
        main(["export", str(two_scans / "dataset.json"), str(tmp_path / "out.safetensors")])
    torch.save({"state_dict": {"net.a": torch.zeros(1)}, "epoch": 1}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"other\.ckpt: not a checkpoint of"):
        main(["export", str(tmp_path / "other.ckpt"), str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()


def test_a_patch_that_the_strides_do_not_divide_is_refused(two_scans: Path, tmp_path: Path) -> None:
    call = arguments(two_scans, tmp_path, 1, "--data.batches=1", "--trainer.logger=false")
    call = [
        part
        for part in call
        if "data.patch" not in part and "logger.save_dir" not in part and "CSVLogger" not in part
    ]
    with pytest.raises(UsageError, match=r"data\.patch \(16, 24, 18\).*multiples of \(4, 4, 4\)"):
        main([*call, "--data.patch=[16,24,18]"])


def test_the_rate_falls_linearly_to_nothing() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1e-3)
    schedule = linear_decay(optimizer, 4)["lr_scheduler"]["scheduler"]
    seen = []
    for _ in range(6):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4, 0, 0])
