"""Runs of pretraining that take seconds: a pool of two phantoms, and a configuration of a very small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
