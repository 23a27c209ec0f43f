"""Runs of pretraining that take seconds: a pool of two phantoms, and a configuration of a very small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.volume import Image

SMALL = {"channels": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "fine_channels": 8, "feature_dim": 8}
VIEWS = {"shape_zyx": [32, 32, 32], "points": 32, "negatives": 32, "shift_mm": 30.0}


def write_scans(folder: Path) -> Path:
    """Two phantoms' heads as a folder of scans without labels."""
    for seed in (1, 2):
        image: Image = phantom(seed=seed, spacing_xyz=(6.0, 6.0, 6.0), region="head-neck").image
        write_volume(image, folder / f"scan{seed}.nii.gz")
    return folder


def write_config(scans: Path, folder: Path, **trainer: Any) -> Path:
    """A configuration file of a run of seconds."""
    content = {
        "seed_everything": 0,
        "model": {"encoder": SMALL, "warmup_steps": 2, "validation_phantoms": 0},
        "data": {
            "sources": [{"path": str(scans)}],
            "cache": str(folder / "cache"),
            "validation_scans": 1,
            "scans_per_step": 1,
            "steps_per_epoch": 2,
            "spacing_mm": 6.0,
            "num_workers": 0,
            "views": VIEWS,
        },
        "trainer": {
            "accelerator": "cpu",
            "default_root_dir": str(folder),
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(folder)},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(folder / "checkpoints"),
                        "save_last": True,
                        "every_n_epochs": 1,
                    },
                }
            ],
            **trainer,
        },
    }
    content["model"]["encoder"] = {**SMALL, "spacing_mm": 6.0}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def checkpointed(scans: Path, folder: Path, **trainer: Any) -> Path:
    """A configuration of six steps with averaged weights that keeps a checkpoint at every third."""
    folder.mkdir(exist_ok=True)
    callbacks = [
        {
            "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
            "init_args": {"decay": 0.5, "update_starting_at_step": 1},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {
                "dirpath": str(folder / "checkpoints"),
                "filename": "{step}",
                "every_n_train_steps": 3,
                "save_top_k": -1,
            },
        },
    ]
    return write_config(scans, folder, max_steps=6, precision="32-true", callbacks=callbacks, **trainer)


def tensors(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their path in it."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: v for key, inner in items for k, v in tensors(inner, f"{name}/{key}").items()}


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, averaged weights and the optimizer's state are bit for bit the same."""
    ends = [tensors(torch.load(path, weights_only=False)) for path in (one, other)]
    assert ends[0].keys() == ends[1].keys()
    for part in ("/state_dict/", "/current_model_state/", "/optimizer_states/"):
        assert any(name.startswith(part) for name in ends[0]), part
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
