"""The paper's two self-supervised losses, over many places of each view instead of one pair of patches a step."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from medlsam.localize.network.encoder import predicted_offset
from medlsam.training.losses import valid_mean

#: Offsets are divided by this before the loss, so that its bend (smooth L1 at 1) lies at 100 mm.
OFFSET_UNIT_MM = 100.0


def rdr_loss(positions: Tensor, places: Tensor, range_mm: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute relative distance regression (RDR) over all ordered pairs of points of one scan.

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
    return valid_mean(loss, valid[:, :, None] & valid[:, None])


def mss_loss(
    anchors: Tensor,
    candidates: Tensor,
    anchor_places: Tensor,
    candidate_places: Tensor,
    temperature: float,
    radius_mm: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Compute multi-scale similarity (MSS) at one scale: InfoNCE of the same place in two views of a scan.

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
    return valid_mean(loss, valid)


def vote_error_loss(
    positions: Tensor, log_error: Tensor, places: Tensor, range_mm: Tensor, valid: Tensor
) -> Tensor:
    """Learn how far a cell's offsets are usually off, without changing the offsets.

    The negative log-likelihood of a Laplace distribution whose width the *voting* cell predicts; the offset itself
    gets no gradient from here.

    Args:
        positions: (B, N, 3) latent positions.
        log_error: (B, N) log of the usual error in units of ``OFFSET_UNIT_MM``.
        places: (B, N, 3) true places, mm.
        range_mm: (3,) r.
        valid: (B, N) boolean.

    Returns:
        Scalar.
    """
    latents = positions.detach()
    predicted = predicted_offset(latents[:, :, None], latents[:, None], range_mm)
    truth = places[:, None] - places[:, :, None]
    error = (predicted - truth).norm(dim=-1) / OFFSET_UNIT_MM
    width = log_error.clamp(-4.0, 3.0)[:, :, None]
    loss: Tensor = error * torch.exp(-width) + width
    return valid_mean(loss, valid[:, :, None] & valid[:, None])


def window_loss(
    anchors: Tensor,
    target: Tensor,
    points: Tensor,
    valid: Tensor,
    chance: Tensor,
    temperature: float,
    reach: int,
) -> Tensor:
    """Compute MSS over the cells that refinement compares: a window around the true place.

    Random negatives are mostly far away, where the coarse answer has decided already; the cells of the search
    window are the hard ones. The true place lies between cells, so the target is its trilinear weights.

    Args:
        anchors: (B, N, C) unit features of N points in one view.
        target: (B, C, Z, Y, X) unit features of the other view.
        points: (B, N, 3) where the points lie in the other view, in cells (x, y, z).
        valid: (B, N) boolean: which points count.
        chance: (B, N, 3) uniform in [0, 1): how far each window is shifted, which keeps the answer from always being
            its middle cell.
        temperature: of the softmax.
        reach: half width of the window, cells.

    Returns:
        Scalar: mean cross-entropy over valid points.
    """
    shape = torch.tensor(target.shape[2:], device=target.device)
    axis = torch.arange(-reach, reach + 1, device=target.device)
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    place = points.flip(-1)
    shift = (chance * (2 * reach - 1)).floor().long() - (reach - 1)
    cells = (place.round().long() + shift)[:, :, None] + offsets
    inside = ((cells >= 0) & (cells < shape)).all(dim=-1)
    clamped = torch.minimum(cells.clamp(min=0), shape - 1)
    linear = (clamped[..., 0] * shape[1] + clamped[..., 1]) * shape[2] + clamped[..., 2]
    rows = target.flatten(2).transpose(1, 2)
    batch = torch.arange(len(rows), device=target.device)[:, None, None]
    logits = torch.einsum("bnc,bnkc->bnk", anchors, rows[batch, linear]) / temperature
    logits = logits.masked_fill(~inside, -1e4)
    weight = (1 - (cells - place[:, :, None]).abs()).clamp(min=0).prod(dim=-1) * inside
    mass = weight.sum(dim=-1)
    loss = -(weight * torch.log_softmax(logits, dim=-1)).sum(dim=-1) / mass.clamp(min=1e-3)
    return valid_mean(loss, valid & (mass > 0.5))
