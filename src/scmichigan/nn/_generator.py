"""Generator with a closed-form start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ._mlp import MLP

_OUTPUTS = {"relu": torch.relu, "softplus": nn.functional.softplus, None: lambda x: x}


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


class ClosedFormGenerator(nn.Module):
    r"""Generator :math:`f(A \phi(c) + b + L \epsilon + \mathrm{network}(c, \epsilon))`.

    A and b are the decoder part on a :class:`KernelBasis`, L the noise part; they can be set to the best generator in
    closed form before the first step (:meth:`start`), while the network's last layer starts near zero. Without
    ``linear_parts`` it is the paper's generator, the network alone.

    Parameters
    ----------
    n_condition
        Columns of the condition c: latents, batch and covariates.
    n_output
        Genes.
    n_noise
        Dimensions of the standard normal noise :math:`\epsilon` (118 in the paper).
    hidden
        Widths of the network's hidden layers.
    linear_parts
        Whether the decoder and the noise part exist.
    n_centres
        Centres of the decoder's basis; 0 is a decoder that is linear in the condition.
    output
        f: ``"relu"`` and ``"softplus"`` keep expression from being negative, ``None`` is the identity.
    norm, dropout
        Of the network, see :class:`MLP`.

    Attributes
    ----------
    condition_mean, condition_scale
        What is taken off the condition, and what the rest is multiplied by, before anything else: 0 and 1, unless set.
    """

    def __init__(
        self,
        n_condition: int,
        n_output: int,
        *,
        n_noise: int = 118,
        hidden: Sequence[int] = (256, 512, 1024),
        linear_parts: bool = True,
        n_centres: int = 0,
        output: Literal["relu", "softplus"] | None = "relu",
        norm: Literal["batch", "layer"] | None = "layer",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_noise = n_noise
        self.output = output
        self.network = nn.Sequential(
            MLP(n_condition + n_noise, hidden, norm=norm, dropout=dropout), nn.Linear(hidden[-1], n_output)
        )
        self.register_buffer("condition_mean", torch.zeros(n_condition))
        self.register_buffer("condition_scale", torch.ones(n_condition))
        self.basis = KernelBasis(n_condition, n_centres)
        self.decoder = nn.Linear(self.basis.n_output, n_output) if linear_parts else None
        self.noise = nn.Linear(n_noise, n_output, bias=False) if linear_parts else None

    @torch.no_grad()
    def start(self, weight: torch.Tensor, bias: torch.Tensor, loadings: torch.Tensor) -> None:
        """Set the linear parts, of the condition as it is scaled, and shrink the network.

        Parameters
        ----------
        weight
            A, shape ``(n_output, n_condition + n_centres)``.
        bias
            b, shape ``(n_output,)``.
        loadings
            L, shape ``(n_output, n_noise)``.
        """
        self.decoder.weight.copy_(weight)
        self.decoder.bias.copy_(bias)
        self.noise.weight.copy_(loadings)
        # Zero would block the gradient to the hidden layers in the first step; a hundredth is invisible in the cells.
        self.network[-1].weight.mul_(0.01)
        self.network[-1].bias.zero_()

    def forward(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Expression, shape ``(n_cells, n_output)``."""
        condition = (condition - self.condition_mean) * self.condition_scale
        x = self.network(torch.cat([condition, noise], dim=1))
        if self.decoder is not None:
            x = x + self.decoder(self.basis(condition)) + self.noise(noise)
        return _OUTPUTS[self.output](x)
