"""An encoder from a weights file that medlsam wrote; the file says how the network is built."""

from __future__ import annotations

from pathlib import Path

from medlsam.localize.network.encoder import Encoder, EncoderConfig
from medlsam.weights.store import load_weights


def read_encoder(path: str | Path) -> Encoder:
    """Read an encoder, in training mode and as it was trained (nothing folded).

    Args:
        path: of the weights file.

    Raises:
        WeightsError: the file is absent, damaged, or of another kind.
    """
    state, config = load_weights(path, "localizer")
    encoder = Encoder(_config(config))
    encoder.load_state_dict(state)
    return encoder


def _config(raw: dict[str, object]) -> EncoderConfig:
    # Fields that a later version added are left to their defaults, those that one took away are not read.
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in raw.items()
        if key in EncoderConfig.__dataclass_fields__
    }
    return EncoderConfig(**fields)  # type: ignore[arg-type]
