"""The two self-supervised losses of the paper, dense instead of one pair of patches a step."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

#: Offsets are divided by this before the loss, so that its bend (smooth L1 at 1) lies at 100 mm.
OFFSET_UNIT_MM = 100.0


def predicted_offset(query: Tensor, support: Tensor, range_mm: Tensor) -> Tensor:
    """d = r * tanh(p_s - p_q), the paper's equation 2: from the query's place to the support's, mm.

    Args:
        query: (..., 3) latent positions p_q.
        support: (..., 3) latent positions p_s, broadcast against ``query``.
        range_mm: (3,) r as (x, y, z).
    """
    return range_mm * torch.tanh(support - query)


def rdr_loss(positions: Tensor, places: Tensor, range_mm: Tensor, valid: Tensor | None = None) -> Tensor:
    """Relative distance regression over all ordered pairs of points of one scan.

    The paper's equation 3 takes the squared error of one pair; smooth L1 over all pairs is its robust form.

    Args:
        positions: (B, N, 3) latent positions of N points of each scan (of all its views).
        places: (B, N, 3) true places in the scan, mm.
        range_mm: (3,) r.
        valid: (B, N) boolean; pairs with an invalid member do not count.

    Returns:
        Scalar: mean over valid pairs and axes.
    """
    predicted = predicted_offset(positions[:, :, None], positions[:, None], range_mm)
    truth = places[:, None] - places[:, :, None]
    loss = F.smooth_l1_loss(predicted / OFFSET_UNIT_MM, truth / OFFSET_UNIT_MM, reduction="none").mean(dim=-1)
    if valid is None:
        return loss.mean()
    pairs = (valid[:, :, None] & valid[:, None]).to(loss.dtype)
    return (loss * pairs).sum() / pairs.sum().clamp(min=1)


def mss_loss(
    anchors: Tensor,
    candidates: Tensor,
    anchor_places: Tensor,
    candidate_places: Tensor,
    temperature: float,
    radius_mm: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Multi-scale similarity at one scale: InfoNCE of the same place in two views of a scan.

    Args:
        anchors: (B, N, C) unit features of N points in one view.
        candidates: (B, M, C), M >= N: the same N points in the other view first, then further negatives.
        anchor_places: (B, N, 3) places in the scan, mm.
        candidate_places: (B, M, 3) places in the scan, mm.
        temperature: of the softmax.
        radius_mm: candidates nearer than this to the anchor (other than its own) are neither positive nor negative.
        valid: (B, N) boolean: which points count.

    Returns:
        Scalar: mean over valid anchors.
    """
    logits = anchors @ candidates.transpose(1, 2) / temperature
    count = anchors.shape[1]
    own = torch.zeros(count, candidates.shape[1], dtype=torch.bool, device=anchors.device)
    own[:, :count].fill_diagonal_(True)
    near = (torch.cdist(anchor_places, candidate_places) < radius_mm) & ~own
    if valid is not None:
        near = near.clone()
        near[:, :, :count] |= ~valid[:, None] & ~own[:, :count]
    logits = logits.masked_fill(near, float("-inf"))
    target = torch.arange(count, device=anchors.device).expand(anchors.shape[0], -1)
    loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
    if valid is None:
        return loss.mean()
    weight = valid.to(loss.dtype)
    return (loss * weight).sum() / weight.sum().clamp(min=1)
