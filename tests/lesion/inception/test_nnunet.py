"""The drop-in for nnU-Net: its plans, its trainers by name, and an epoch with the installed nnunetv2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medlsam.errors import UsageError
from medlsam.lesion.inception.network import InceptionConfig
from medlsam.lesion.inception.nnunet_plans import config_of_plans
from tests.support.data.lesion_data import write_blobs
from tests.support.paths import ROOT

needs_nnunet = pytest.mark.skipif(
    find_spec("nnunetv2") is None, reason="nnunetv2 is not installed (the extra nnunet)"
)

#: As nnU-Net 2.8.1 writes it for the ResEnc-L planner.
RESIDUAL: dict[str, Any] = {
    "n_stages": 6,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * 5],
    "strides": [[1, 1, 1], [1, 2, 2], *[[2, 2, 2]] * 4],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "n_conv_per_stage_decoder": [1, 1, 1, 1, 1],
}
PLAIN = {key: value for key, value in RESIDUAL.items() if key != "n_blocks_per_stage"}
PLAIN |= {"n_conv_per_stage": [2] * 6, "n_conv_per_stage_decoder": [2] * 5}

SHORT = """
from medlsam.lesion.inception.nnunet import nnUNetTrainerInception, nnUNetTrainerInceptionFineTune


class Short:
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        assert (self.initial_lr, self.num_epochs) in ((1e-3, 1500), (1e-4, 300))
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1


class nnUNetTrainerShort(Short, nnUNetTrainerInception):
    pass


class nnUNetTrainerShortFineTune(Short, nnUNetTrainerInceptionFineTune):
    pass
"""


def test_a_plan_of_residual_blocks_is_the_papers_network() -> None:
    config = config_of_plans(RESIDUAL, 1)
    assert (config.widths, config.blocks) == (InceptionConfig().widths, InceptionConfig().blocks)
    assert config.decoder_blocks == 1
    assert config.strides[1] == (1, 2, 2)
    assert config.kernels[0] == (1, 3, 3)
    assert config.norm == "batch"


def test_a_plan_of_plain_convolutions_has_one_block_for_two() -> None:
    config = config_of_plans(PLAIN, 2)
    assert config.in_channels == 2
    assert config.blocks == (1,) * 6
    assert config.decoder_blocks == 1


def test_a_plan_in_2d_is_refused() -> None:
    with pytest.raises(UsageError, match="InceptionUNet is 3D.*3d_fullres"):
        config_of_plans({**RESIDUAL, "conv_op": "torch.nn.modules.conv.Conv2d"}, 1)
    with pytest.raises(UsageError, match="architecture cannot be read.*strides"):
        config_of_plans({key: value for key, value in RESIDUAL.items() if key != "strides"}, 1)


def test_without_nnunet_the_extra_is_named() -> None:
    if find_spec("nnunetv2") is not None:
        pytest.skip("nnunetv2 is installed")
    with pytest.raises(ImportError, match=r"medlsam\[nnunet\]"):
        import medlsam.lesion.inception.nnunet  # noqa: F401


@needs_nnunet
def test_the_trainers_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from medlsam.lesion.inception import nnunet

    monkeypatch.setenv(nnunet.VARIABLE, "")
    nnunet.list_trainers()
    nnunet.list_trainers()
    assert os.environ[nnunet.VARIABLE] == str(nnunet.TRAINERS)
    for name in ("nnUNetTrainerInception", "nnUNetTrainerInceptionFineTune", "nnUNetTrainerFineTune"):
        assert recursive_find_trainer_class_by_name(name) is getattr(nnunet, name)
    with pytest.raises(UsageError, match="'pip' is no command of nnU-Net"):
        nnunet.main(["pip"])


def make_small(plans: Path) -> None:
    """Few features and a small batch, for a CPU."""
    content = json.loads(plans.read_text())
    chosen = content["configurations"]["3d_fullres"]
    chosen["batch_size"] = 2
    sizes = chosen["architecture"]["arch_kwargs"]
    sizes["features_per_stage"] = [4] * len(sizes["features_per_stage"])
    plans.write_text(json.dumps(content))


@pytest.mark.slow
@needs_nnunet
def test_the_recipe_runs_with_the_installed_nnunet(tmp_path: Path) -> None:
    """Plan, pretrain for one short epoch, fine-tune a dataset of other lesions from it, predict with the ensemble."""
    raw = tmp_path / "nnUNet_raw"
    write_blobs(raw / "Dataset001_one", 3)
    other = write_blobs(raw / "Dataset002_two", 3, {"background": 0, "tumour": 1, "other": 2})
    (other / "imagesTr").rename(other / "imagesTs")
    write_blobs(other, 3, {"background": 0, "tumour": 1, "other": 2})
    (tmp_path / "patients.json").write_text(json.dumps({"case0": "a", "case1": "a", "case2": "b"}))
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "short_trainers.py").write_text(SHORT)
    folders = {name: str(tmp_path / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    chosen = {
        "nnUNet_extTrainer": str(tmp_path / "trainers"), "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1",
        "PRETRAINER": "nnUNetTrainerShort", "TRAINER": "nnUNetTrainerShortFineTune", "DEVICE": "cpu", "FOLDS": "0 1",
        "SPLITS": "2", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    said = ""
    for part in ("plan", "move", "pretrain", "finetune", "predict"):
        result = subprocess.run(
            [
                "sh",
                str(ROOT / "configs" / "lesion_hcuch_nnunet.sh"),
                "1",
                "2",
                str(tmp_path / "patients.json"),
                part,
            ],
            env=os.environ | folders | chosen,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert result.returncode == 0, f"{part}: {result.stdout[-3000:]}{result.stderr[-3000:]}"
        said += result.stdout
        if part == "plan":
            make_small(tmp_path / "nnUNet_preprocessed" / "Dataset001_one" / "nnUNetResEncUNetMPlans.json")
    splits = json.loads(
        (tmp_path / "nnUNet_preprocessed" / "Dataset002_two" / "splits_final.json").read_text()
    )
    assert sorted(sorted(fold["val"]) for fold in splits) == [["case0", "case1"], ["case2"]]
    assert "Loading pretrained weights" in said
    for fold in (0, 1):
        place = tmp_path / "nnUNet_results" / "Dataset002_two"
        made = place / "nnUNetTrainerShortFineTune__medlsamPretrainedPlans__3d_fullres" / f"fold_{fold}"
        assert (made / "checkpoint_final.pth").is_file()
    predicted = sorted(file.name for file in (place / "ensemble").glob("*.nii.gz"))
    assert predicted == ["case0.nii.gz", "case1.nii.gz", "case2.nii.gz"]
