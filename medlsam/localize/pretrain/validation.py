"""Landmark errors: how far off the extreme points of one phantom are located in another.

The losses alone do not show whether an encoder knows anatomy or only its own scan; this does, and the only labels that
it needs are those that a phantom is drawn with.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medlsam.geometry import ExtremePoints
from medlsam.localize.network.embedding import Embedding, embed
from medlsam.localize.network.encoder import Encoder
from medlsam.localize.pretrain.datamodule import VALIDATION_PHANTOM_SEED
from medlsam.localize.search.alignment import STEP_MM, align
from medlsam.localize.search.votes import coarse_consensus
from medlsam.localize.templates.anchors import read_anchors
from medlsam.phantoms import phantom
from medlsam.volume import Image

#: A phantom, and the extreme points (6, 3) of its structures by name, LPS mm.
MarkedPhantom = tuple[Image, dict[str, Tensor]]


def marked_phantoms(count: int, spacing_mm: float) -> list[MarkedPhantom]:
    """Draw whole-body phantoms that no training sees, with their extreme points.

    Args:
        count: how many.
        spacing_mm: isotropic.
    """
    drawn = []
    for i in range(count):
        made = phantom(seed=VALIDATION_PHANTOM_SEED + i, spacing_xyz=(spacing_mm,) * 3, region="body")
        marks = {}
        for value, name in made.names.items():
            mask = made.labels.array == value
            if mask.any():
                points = ExtremePoints.from_mask(mask, made.labels.grid)
                marks[name] = torch.tensor(points.array, dtype=torch.float32)
        drawn.append((made.image, marks))
    return drawn


def landmark_errors(
    marked: list[MarkedPhantom], encoder: Encoder, device: torch.device
) -> tuple[float, float]:
    """Measure the mean distance in mm of located extreme points, over ordered pairs of phantoms.

    Args:
        marked: two or more, with structures in common.
        encoder: its mode (training or not) stays.
        device: of the encoder.

    Returns:
        By the coarse votes alone (RDR), and as a search finds them: whole scans aligned, then one window.
    """
    seen: list[tuple[Embedding, dict[str, Tensor]]] = []
    training = encoder.training
    encoder.eval()
    for image, marks in marked:
        seen.append((embed(image, encoder, device), marks))
    encoder.train(training)
    coarse, fine = [], []
    for i, (template, marks) in enumerate(seen):
        for j, (query, truth) in enumerate(seen):
            names = [name for name in marks if name in truth]
            if i == j or not names:
                continue
            points = [marks[name] for name in names]
            latents, features = template.read(torch.cat(points))
            wanted = torch.cat([truth[name] for name in names])
            votes, _ = coarse_consensus(query, latents)
            coarse.append((votes - wanted).norm(dim=-1).mean())
            first = _aligned(template, query, points)
            found = query.refine(features[:, None], votes if first is None else first, 32.0, 0.03).points[
                :, 0
            ]
            fine.append((found - wanted).norm(dim=-1).mean())
    return float(torch.stack(coarse).mean()), float(torch.stack(fine).mean())


def _aligned(template: Embedding, query: Embedding, points: list[Tensor]) -> Tensor | None:
    """Map each structure's points of the template (six each) into the query: (N, 3) LPS mm."""
    boxes = [ExtremePoints(tuple(tuple(p) for p in own.tolist())).box for own in points]
    anchors = read_anchors(template, boxes)
    alignment = None if anchors is None else align(anchors, query.body_lattice(STEP_MM))
    if alignment is None:
        return None
    mapped = [
        alignment.around(np.asarray(box.center)).apply(own.double().numpy())
        for own, box in zip(points, boxes, strict=True)
    ]
    return torch.from_numpy(np.concatenate(mapped)).float()
