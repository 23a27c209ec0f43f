"""What the training of the lesion network loads: patches of an nnU-Net dataset, one fold of it for validation."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import lightning
from torch.utils.data import DataLoader

from medlsam.errors import DatasetError, UsageError, WeightsError
from medlsam.io.label_names import read_label_names, read_patients
from medlsam.io.labelled_scans import TemplateCase
from medlsam.lesion.inception.folds import (
    SOURCE_SPLITS,
    find_training_cases,
    kept_for_test,
    make_folds,
    read_folds,
)
from medlsam.lesion.inception.patches import Onwards, Patch, Patches
from medlsam.lesion.inception.plan import ScanPlan, plan_dataset
from medlsam.lesion.inception.prepare import prepare_cases
from medlsam.runtime.atomic_files import sha256_of, write_json
from medlsam.weights.store import read_header

_log = logging.getLogger(__name__)
PLAN_FILE = "plan.json"


class LesionDataModule(lightning.LightningDataModule):
    """Patches of labelled scans.

    Args:
        dataset: folder with ``imagesTr``, ``labelsTr`` and ``dataset.json``. Scans that its ``splits.json`` calls
            ``test`` (as ``medlsam data`` writes it) are left out.
        prepared: folder for the arrays that patches are read from; made at the first run, and used again.
        fold: that validates; None trains on all scans, and validates on them.
        folds: how many there are where ``splits`` is not given.
        splits: nnU-Net's ``splits_final.json``.
        patients: JSON of scan to patient, or a ``cases.json`` with patients: scans of one patient lie in one fold.
        patch: (z, y, x) voxels; multiples of the network's strides.
        spacing: (x, y, z) mm of a voxel; the median of the scans where None.
        plan_from: weights file whose spacing and HU are used in place of the dataset's own, as a network that is
            fine-tuned from it (``model.init_from``) knows them; nnU-Net moves plans likewise.
        batch_size: patches a step.
        batches: steps an epoch.
        validation_batches: of every validation, the same ones each time.
        foreground: share of patches around a lesion.
        augmented: whether training patches are mirrored, turned, stretched and made noisy.
        workers: processes that draw patches; 0 draws them in the training process.
        seed: of the draws.
    """

    def __init__(
        self,
        dataset: str,
        prepared: str,
        fold: int | None = 0,
        folds: int = 5,
        splits: str | None = None,
        patients: str | None = None,
        patch: tuple[int, int, int] = (96, 128, 128),
        spacing: tuple[float, float, float] | None = None,
        plan_from: str | None = None,
        batch_size: int = 2,
        batches: int = 250,
        validation_batches: int = 50,
        foreground: float = 0.33,
        augmented: bool = True,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dataset, self.prepared = Path(dataset), Path(prepared)
        self.fold, self.folds = fold, folds
        self.splits = Path(splits) if splits else None
        self.patients = Path(patients) if patients else None
        self.patch, self.spacing = patch, spacing
        self.plan_from = Path(plan_from) if plan_from else None
        self.batch_size, self.batches, self.validation_batches = batch_size, batches, validation_batches
        self.foreground, self.augmented = foreground, augmented
        self.workers, self.seed = workers, seed

    @property
    def class_names(self) -> list[str]:
        """The lesions of the network's classes 1, 2, ... (by value).

        Raises:
            DatasetError: nnU-Net's label ``ignore``, which would be learnt as a lesion.
        """
        file = self.dataset / "dataset.json"
        names = read_label_names(file)
        for value, name in names.items():
            if name == "ignore":
                raise DatasetError(
                    f"{file}: label {value} is 'ignore', which is not supported here; train inside nnU-Net, or make it "
                    "background"
                )
        return [name for _, name in sorted(names.items())]

    @property
    def plan(self) -> ScanPlan:
        """How scans are prepared; there after ``prepare_data``."""
        return ScanPlan.from_dict(json.loads((self.prepared / PLAN_FILE).read_text(encoding="utf-8"))["plan"])

    def prepare_data(self) -> None:
        """Plan, and write the arrays that are missing or out of date."""
        cases, names = find_training_cases(self.dataset)
        if kept := kept_for_test(self.dataset):
            _log.info("%s: %d scans are kept for a test", self.dataset / SOURCE_SPLITS, len(kept))
        self._sides([case.name for case in cases])  # a wrong fold is refused before hours of work
        asked = {
            "dataset": str(self.dataset.resolve()),
            "spacing": self.spacing,
            "patch": self.patch,
            "scans": [case.name for case in cases],
            "plan_from": self.plan_from and sha256_of(self.plan_from),
        }
        asked = json.loads(json.dumps(asked | {"names": sorted(names.items())}))
        file = self.prepared / PLAN_FILE
        if not file.is_file() or json.loads(file.read_text(encoding="utf-8"))["asked"] != asked:
            plan = self._planned(cases, names)
            write_json(file, {"asked": asked, "plan": plan.to_dict()})
        prepare_cases(cases, names, self.plan, self.prepared)

    def _planned(self, cases: list[TemplateCase], names: dict[int, str]) -> ScanPlan:
        if self.plan_from is None:
            return plan_dataset(cases, names, self.patch, self.spacing)
        kind, config = read_header(self.plan_from)
        if kind != "lesion-network":
            raise WeightsError(
                f"{self.plan_from} holds a {kind}, a lesion-network is wanted for data.plan_from"
            )
        plan = ScanPlan.from_dict(config["plan"])
        spacing = self.spacing or plan.spacing_xyz
        return replace(plan, spacing_xyz=spacing, patch_zyx=self.patch, names=tuple(sorted(names.items())))

    def setup(self, stage: str) -> None:
        """Open the arrays of both sides of the fold."""
        cases, names = find_training_cases(self.dataset)
        made = {case.name: case for case in prepare_cases(cases, names, self.plan, self.prepared)}
        train, validation = self._sides(list(made))
        seen = {number for name in train for number in made[name].places()}
        lacking = [name for number, (_, name) in enumerate(self.plan.names, start=1) if number not in seen]
        if lacking:
            _log.warning(
                "%s: no scan to train on has %s: the network will never find it",
                self.dataset,
                ", ".join(lacking),
            )
        self.train_patches = Patches(
            [made[name] for name in train], self.plan, self.seed, self.foreground, self.augmented
        )
        count = self.validation_batches * self.batch_size
        self.validation_patches = Patches(
            [made[name] for name in validation], self.plan, self.seed + 1, self.foreground, False, count
        )

    def _sides(self, names: list[str]) -> tuple[list[str], list[str]]:
        if self.fold is None:
            return names, names
        if self.splits is not None:
            folds = read_folds(self.splits, names)
        else:
            patients = read_patients(self.patients) if self.patients else None
            folds = make_folds(names, self.folds, patients)
        if not 0 <= self.fold < len(folds):
            raise UsageError(
                f"fold {self.fold}: there are {len(folds)} folds, numbered from 0; or null for all scans"
            )
        one = folds[self.fold]
        return one["train"], one["val"]

    def train_dataloader(self) -> DataLoader[Patch]:
        """Load an epoch's patches, on from the step that was reached."""
        return DataLoader(
            self.train_patches,
            self.batch_size,
            sampler=Onwards(self._drawn, self.batches * self.batch_size),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def _drawn(self) -> int:
        """Count the patches that all processes have drawn so far."""
        if self.trainer is None:
            return 0
        steps: int = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return steps * self.trainer.world_size * self.batch_size

    def val_dataloader(self) -> DataLoader[Patch]:
        """Load the fixed patches of the validation scans."""
        return DataLoader(self.validation_patches, self.batch_size, num_workers=self.workers)
