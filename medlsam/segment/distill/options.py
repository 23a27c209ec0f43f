"""The options of distillation. Without torch, so that the command line reads the defaults at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medlsam.errors import UsageError
from medlsam.option_fields import Checked, mistyped, number, option


def _whole(default: int, least: int, help_text: str) -> Any:
    def check(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise mistyped(name, value, "a whole number")
        if value < least:
            raise UsageError(f"{name} must be {least} or more, got {value}")
        return value

    return option(default, help_text, check, metavar="N", flag=int)


def _share(default: float, help_text: str) -> Any:
    return number(default, help_text, "0..1", "lie between 0 and 1", lambda value: 0 <= value <= 1)


@dataclass(frozen=True, kw_only=True)
class DistillOptions(Checked):
    """How a student is trained with a teacher's masks. Each field's ``metadata["help"]`` is its flag's help.

    Raises:
        UsageError: a value of another type or out of range.
    """

    slices_per_scan: int = _whole(12, 1, "Slices of each scan that the teacher encodes: what costs the time.")
    prompts_per_slice: int = _whole(12, 1, "Boxes in each slice that the teacher segments.")
    min_iou: float = number(
        -1.0,
        "Masks of which the teacher expects a lower IoU are dropped; 0 drops none, -1 is 0.7, or 0 for teachers that "
        "were not trained to expect one (medsam_vit_b).",
        "X",
        "be -1, or lie between 0 and 1",
        lambda value: value == -1 or 0 <= value <= 1,
    )
    held_out_share: float = number(
        0.2,
        "Share of the patients that are held out where --held-out names none.",
        "0..1",
        "lie between 0 and 1, without them",
        lambda value: 0 < value < 1,
    )
    steps: int = _whole(1000, 1, "Steps of the training.")
    warmup_steps: int = _whole(50, 0, "Steps until the learning rate is reached; a cosine follows.")
    batch_size: int = _whole(32, 1, "Crops a step.")
    learning_rate: float = number(
        1e-4, "Of AdamW, at its highest.", "X", "be more than 0", lambda value: value > 0
    )
    weight_decay: float = number(0.02, "Of AdamW.", "X", "be 0 or more", lambda value: value >= 0)
    exact: float = _share(
        0.4,
        "Share of exact boxes among those that the teacher's masks are learned with; the others "
        "are jittered.",
    )
    keep: float = _share(
        0.3,
        "Share of crops with boxes as wrong as located ones, in which the student keeps to its own first answer: what "
        "such a box means a teacher cannot say.",
    )
    ema: float = number(
        0.99,
        "Decay of the averaged weights, which are kept; 0 keeps those of the last step.",
        "X",
        "be 0 or more and less than 1",
        lambda value: 0 <= value < 1,
    )
    workers: int = _whole(0, 0, "Processes that draw crops; 0 draws them in the training process.")
    seed: int = _whole(0, 0, "Of slices, boxes and crops.")
