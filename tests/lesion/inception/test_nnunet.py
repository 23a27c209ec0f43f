"""The drop-in for nnU-Net: its trainers by name, and the recipe with the installed nnunetv2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from tests.support.data.lesion_data import write_blobs
from tests.support.paths import ROOT

needs_nnunet = pytest.mark.skipif(
    find_spec("nnunetv2") is None, reason="nnunetv2 is not installed (the extra nnunet)"
)

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
    # As medlsam data writes a dataset: the source's test is in imagesTr as well.
    other = write_blobs(raw / "Dataset002_two", 4, {"background": 0, "tumour": 1, "other": 2})
    (other / "splits.json").write_text(json.dumps({"train": ["case0", "case1", "case2"], "test": ["case3"]}))
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
    assert predicted == ["case3.nii.gz"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("1",), "give PRETRAIN, TARGET and PATIENTS.json"),
        (("1", "7", "patients.json"), "there is no dataset 7 in "),
        (("7", "1", "patients.json"), "there is no dataset 7 in "),
        (("1", "1", "patients.json", "tune"), "tune is no part of this recipe"),
        (("1", "1", "whose.json"), "whose.json: there is no such file"),
    ],
)
def test_a_wrong_call_of_the_recipe_does_nothing(tmp_path: Path, given: tuple[str, ...], said: str) -> None:
    (tmp_path / "raw" / "Dataset001_one").mkdir(parents=True)
    (tmp_path / "patients.json").write_text("{}")
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    result = subprocess.run(
        ["sh", str(ROOT / "configs" / "lesion_hcuch_nnunet.sh"), *given],
        cwd=tmp_path,
        env=os.environ | folders | {"PYTHON": "false"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert said in result.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["patients.json", "raw"]
