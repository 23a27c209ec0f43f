"""The distance between two places that their latent positions predict: what pretraining learns and a search uses."""

from __future__ import annotations

import torch
from torch import Tensor


def predicted_offset(query: Tensor, support: Tensor, range_mm: Tensor) -> Tensor:
    """Compute d = r * tanh(p_s - p_q), the paper's equation 2: from the query's place to the template's, mm.

    Args:
        query: (..., 3) latent positions p_q.
        support: (..., 3) latent positions p_s, broadcast against ``query``.
        range_mm: (3,) r as (x, y, z).
    """
    return range_mm * torch.tanh(support - query)
