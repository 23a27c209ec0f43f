"""The options of fine-tuning. Without torch, so that the command line reads the defaults at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from medlsam.errors import UsageError
from medlsam.option_fields import hu_window


@dataclass(frozen=True)
class FinetuneOptions:
    """How a decoder is fine-tuned. Each field's ``metadata["help"]`` is its flag's help.

    Defaults are those of the HCUCH paper (Technical validation, Training) where it names them.

    Raises:
        UsageError: a value of another type or out of range.
    """

    epochs: int = field(
        default=50, metadata={"help": "Most epochs; leave-one-patient-out chooses among them."}
    )
    batch_size: int = field(default=2, metadata={"help": "Slices a step."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Of AdamW, constant."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    jitter: float = field(
        default=5.0, metadata={"help": "Corners of training boxes move by up to so many pixels."}
    )
    views: int = field(
        default=4,
        metadata={"help": "sam-tiny: jittered crops kept of each component, the exact one included."},
    )
    slices: int = field(
        default=0, metadata={"help": "Train on at most so many slices of a structure in a scan; 0 takes all."}
    )
    folds: int = field(
        default=0, metadata={"help": "Leave out patients in so many groups; 0 leaves out one by one."}
    )
    seed: int = field(default=0, metadata={"help": "Of order and jitter."})
    window: str | tuple[float, float] = hu_window(
        ("model",),
        "HU that SAM and MedSAM learn in and are then shown: the model's own, a named window (lung, abdomen, liver, "
        "...), or a pair.",
    )

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch_size": 1, "views": 1, "slices": 0, "folds": 0, "seed": 0}
        for item in fields(self):
            value: object = getattr(self, item.name)
            if "check" in item.metadata:
                object.__setattr__(self, item.name, item.metadata["check"](item.name, value))
                continue
            whole = item.name in least
            kind = int if whole else int | float
            if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
                raise UsageError(f"{item.name}: a {'whole ' if whole else ''}number is needed, got {value!r}")
            if value < least.get(item.name, 0):
                raise UsageError(f"{item.name} must be {least.get(item.name, 0)} or more, got {value}")
        if self.learning_rate == 0:
            raise UsageError("learning_rate must be more than 0")
        if self.folds == 1:
            raise UsageError("folds: one group would leave nobody to train on; give 2 or more, or 0")
