"""Bends in what is linear otherwise."""

from __future__ import annotations

import torch
from torch import nn


class KernelBasis(nn.Module):
    r"""The condition itself, and how near it is to each of some centres.

    :math:`\phi(c) = [c, w_1, \ldots, w_m]` with
    :math:`w_j \propto \exp(-\lVert s \odot c - t_j \rVert^2 / (2 h^2))`, scaled to sum to one. A linear function of
    :math:`\phi` follows c where centres are missing, and bends from centre to centre.

    Parameters
    ----------
    n_condition
        Columns of the condition.
    n_centres
        Number of centres m; 0 leaves the condition as it is.
    """

    def __init__(self, n_condition: int, n_centres: int) -> None:
        super().__init__()
        self.n_output = n_condition + n_centres
        self.register_buffer("scale", torch.ones(n_condition))
        self.register_buffer("centres", torch.zeros(n_centres, n_condition))
        self.register_buffer("bandwidth", torch.ones(()))

    @torch.no_grad()
    def set(self, scale: torch.Tensor, centres: torch.Tensor, bandwidth: torch.Tensor) -> None:
        """Set s, t and h, of shapes ``(n_condition,)``, ``(n_centres, n_condition)`` and ``()``."""
        for buffer, value in ((self.scale, scale), (self.centres, centres), (self.bandwidth, bandwidth)):
            buffer.copy_(value)

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        """Columns of the basis, shape ``(n_cells, n_condition + n_centres)``."""
        if not len(self.centres):
            return condition
        # The faster way by products loses what is small beside a latent's distance from zero.
        distance = torch.cdist(condition * self.scale, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        squared = distance.square()
        weights = torch.softmax(-squared / (2 * self.bandwidth.square()), dim=1)
        return torch.cat([condition, weights], dim=1)
