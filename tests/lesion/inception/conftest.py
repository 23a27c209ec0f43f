"""One small training, whose weights several tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlsam.lesion.inception.train import main
from tests.support.data.lesion_data import write_blobs

SMALL = ["--model.net.widths=[8,16,24]", "--model.net.blocks=[1,1,1]", "--model.optimizer=adamw"]


def arguments(dataset: Path, folder: Path, epochs: int, *more: str) -> list[str]:
    """The command line of a small training on the CPU."""
    return [
        "fit",
        f"--data.dataset={dataset}",
        f"--data.prepared={folder / 'prepared'}",
        "--data.fold=null",
        "--data.patch=[16,24,24]",
        "--data.batch_size=4",
        "--data.validation_batches=2",
        "--data.workers=0",
        *SMALL,
        f"--trainer.max_epochs={epochs}",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.num_sanity_val_steps=0",
        f"--trainer.default_root_dir={folder}",
        "--trainer.logger=CSVLogger",
        f"--trainer.logger.save_dir={folder}",
        *more,
    ]


def weights_in(folder: Path) -> Path:
    """The file that the last training below a folder wrote."""
    return max(folder.rglob("lesions.safetensors"), key=lambda file: file.stat().st_mtime)


@pytest.fixture(scope="session")
def two_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("lesions") / "Dataset001_blobs", 2)


@pytest.fixture(scope="session")
def overfitted(two_scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that has seen nothing but two scans, often."""
    folder = tmp_path_factory.mktemp("overfitted")
    more = (
        "--data.batches=130",
        "--data.augmented=false",
        "--data.foreground=0.5",
        "--model.learning_rate=0.01",
    )
    main(
        arguments(
            two_scans,
            folder,
            1,
            *more,
            "--trainer.limit_val_batches=0",
            "--trainer.enable_checkpointing=false",
        )
    )
    return weights_in(folder)
