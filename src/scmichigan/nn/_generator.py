"""Generator with a closed-form start."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ._mlp import MLP

_OUTPUTS = {"relu": torch.relu, "softplus": nn.functional.softplus, None: lambda x: x}


class KernelBasis(nn.Module):
    r"""Basis functions of the condition: its columns, and how near it is to each centre.

    :math:`\phi(c) = [c, w_1, \ldots, w_m]` with
    :math:`w_j \propto \exp(-\lVert s \odot c - t_j \rVert^2 / (2 h^2))`, scaled to sum to one. A function that is linear in
    :math:`\phi` is linear in c without centres, and nonlinear between them.

    Parameters
    ----------
    n_condition, n_centres
        Columns of the condition; number of centres m, of which 0 leave the condition as it is.
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
        # The faster way by products loses precision for latents far from zero.
        distance = torch.cdist(condition * self.scale, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        squared = distance.square()
        weights = torch.softmax(-squared / (2 * self.bandwidth.square()), dim=1)
        return torch.cat([condition, weights], dim=1)


class ClosedFormGenerator(nn.Module):
    r"""Generator :math:`f(A \phi(c) + b + L \epsilon + \mathrm{network}(c, \epsilon))`.

    A and b are the decoder on a :class:`KernelBasis`, L the noise part. :meth:`start` sets them to a fit in closed form
    before the first step, and the network's last layer to nearly zero. Without ``linear_parts`` there is only the network,
    the paper's generator.

    Parameters
    ----------
    n_condition, n_output
        Columns of the condition c (latents, batch and covariates); genes.
    n_noise
        Dimensions of the standard normal noise :math:`\epsilon` (118 in the paper).
    linear_parts
        Whether the decoder and the noise part exist.
    n_centres
        Centres of the decoder's basis; 0 is a decoder that is linear in the condition.
    output
        f: ``"relu"`` and ``"softplus"`` prevent negative expression, ``None`` is the identity.
    hidden, norm, dropout
        Of the network, see :class:`MLP`.

    Attributes
    ----------
    condition_mean, condition_scale
        Subtracted from the condition, and multiplied by the rest: 0 and 1, unless set.
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
        """Set A, b and L of the scaled condition, and shrink the network.

        Their shapes are ``(n_output, n_condition + n_centres)``, ``(n_output,)`` and ``(n_output, n_noise)``.
        """
        self.decoder.weight.copy_(weight)
        self.decoder.bias.copy_(bias)
        self.noise.weight.copy_(loadings)
        # Zero would block the gradient to the hidden layers in the first step; a hundredth does not show in the cells.
        self.network[-1].weight.mul_(0.01)
        self.network[-1].bias.zero_()

    def forward(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Expression, shape ``(n_cells, n_output)``."""
        condition = (condition - self.condition_mean) * self.condition_scale
        x = self.network(torch.cat([condition, noise], dim=1))
        if self.decoder is not None:
            x = x + self.decoder(self.basis(condition)) + self.noise(noise)
        return _OUTPUTS[self.output](x)
