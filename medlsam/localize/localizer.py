"""The localizer: a loaded network with its weights' signature and device, ready to embed scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from medlsam.errors import UsageError, WeightsError
from medlsam.io.checks import check_finite
from medlsam.localize.medlam.embedding import BATCH, see
from medlsam.localize.medlam.network import PublishedNetwork, load_published
from medlsam.localize.network.embedding import embed
from medlsam.localize.network.encoder import Encoder, fast_layout
from medlsam.localize.network.read_encoder import read_encoder
from medlsam.localize.protocol import ScanEmbedding
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.device import resolve_device
from medlsam.runtime.fold_batchnorm import folded
from medlsam.volume import Image
from medlsam.weights.fetch import resolve
from medlsam.weights.store import is_ours

#: The name under which the network of the paper runs, with weights that the user brings.
PUBLISHED = "published"


@dataclass(frozen=True, eq=False)
class Localizer:
    """A network ready for use.

    Attributes:
        name: registry name or file name.
        network: in evaluation mode, on ``device``.
        signature: sha256 of the weights file; templates made with other weights cannot be used.
        device: where the network runs.
        batch: cubes at a time, for the patch network; bounds its memory.
        precision: of a dense network's pass: ``auto``, ``float32`` or ``bfloat16``.
    """

    name: str
    network: Encoder | PublishedNetwork
    signature: str
    device: torch.device
    batch: int = BATCH
    precision: str = "auto"

    @property
    def kind(self) -> Literal["dense", "patches"]:
        """``dense``: one pass embeds a whole scan. ``patches``: the paper's network, a cube at a time."""
        return "dense" if isinstance(self.network, Encoder) else "patches"

    def embed(self, volume: Image) -> ScanEmbedding:
        """Embed a scan (HU, any orientation); a dense network makes its one pass here.

        Raises:
            VolumeError: the scan, which may have been read elsewhere, has values that are NaN or infinite.
        """
        check_finite(volume)
        if isinstance(self.network, Encoder):
            return embed(volume, self.network, self.device, self.precision)
        return see(volume, self.network, self.device, self.batch)


def load_localizer(
    name_or_path: str | Path = "medlam-tiny",
    device: str = "auto",
    weights: str | Path | None = None,
    batch: int = BATCH,
    precision: str = "auto",
) -> Localizer:
    """Load a localizer by registry name or from a file, whose kind is recognised.

    Args:
        name_or_path: a registered name, a file that medlsam wrote, or a checkpoint of the paper's network.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        weights: with ``published``: its checkpoint.
        batch: see ``Localizer``.
        precision: see ``Localizer``.

    Raises:
        WeightsError: unknown name, or a file of another kind.
        UsageError: ``weights`` with another localizer, or no cubes at a time.
    """
    if weights is not None and str(name_or_path) != PUBLISHED:
        raise UsageError(
            f"weights {str(weights)!r} go with the localizer {PUBLISHED!r} only, not with {str(name_or_path)!r}; "
            "give a file of another kind as the localizer itself"
        )
    if batch < 1:
        raise UsageError(f"batch must be 1 or more, got {batch}")
    path = resolve(name_or_path, "localizer") if weights is None else Path(weights).expanduser()
    if not is_ours(path):
        network: Encoder | PublishedNetwork = load_published(path)
    elif str(name_or_path) == PUBLISHED:
        raise WeightsError(
            f"{path} was written by medlsam; give it as the localizer itself: --localizer {path}"
        )
    else:
        network = fast_layout(folded(read_encoder(path).eval()))
    where = resolve_device(device)
    return Localizer(Path(name_or_path).stem, network.to(where), sha256_of(path), where, batch, precision)
