"""A loaded encoder: weights, device and signature in one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from medlsam.device import resolve_device
from medlsam.localize.embedding import Embedding, embed
from medlsam.localize.encoder import Encoder, EncoderConfig, fast_layout
from medlsam.volume import Volume
from medlsam.weights.registry import resolve, sha256_of
from medlsam.weights.store import load_weights


@dataclass(frozen=True, eq=False)
class Localizer:
    """An encoder ready for use.

    Attributes:
        name: registry name or file name.
        encoder: in evaluation mode, on ``device``.
        signature: sha256 of the weights file; templates made with other weights cannot be used.
        device: where the encoder runs.
    """

    name: str
    encoder: Encoder
    signature: str
    device: torch.device

    def embed(self, volume: Volume) -> Embedding:
        """One pass over a scan (HU, any orientation)."""
        return embed(volume, self.encoder, self.device)


def _config(raw: dict[str, object]) -> EncoderConfig:
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in raw.items()
        if key in EncoderConfig.__dataclass_fields__
    }
    return EncoderConfig(**fields)  # type: ignore[arg-type]


def load_localizer(name_or_path: str | Path = "medlam-tiny", device: str = "auto") -> Localizer:
    """Load an encoder by registry name or from a file.

    Raises:
        WeightsError: unknown name, or a file of another kind.
    """
    path = resolve(name_or_path, "localizer")
    state, config = load_weights(path, "localizer")
    encoder = Encoder(_config(config))
    encoder.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    )
    where = resolve_device(device)
    encoder = fast_layout(encoder.eval().requires_grad_(False).to(where))
    return Localizer(Path(name_or_path).stem, encoder, sha256_of(path), where)
