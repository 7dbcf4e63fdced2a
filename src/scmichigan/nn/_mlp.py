"""Multilayer perceptron shared by all networks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import nn


class ReferenceBatchNorm(nn.BatchNorm1d):
    """Batch norm of several minibatches by the statistics of the first, which are also those that it keeps.

    Salimans et al. 2016, "Improved techniques for training GANs", section 3.4.
    """

    def statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the first minibatch of ``(p, n_cells, n_features)``; updates the running ones."""
        reference = x[0]
        with torch.no_grad():
            super().forward(reference)
        mean = reference.mean(0)
        return mean, ((reference - mean).square().mean(0) + self.eps).sqrt()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise minibatches ``(p, n_cells, n_features)``, or the reference alone."""
        if x.dim() == 2:
            return super().forward(x)
        if not self.training:
            return super().forward(x.flatten(0, 1)).view_as(x)
        mean, deviation = self.statistics(x)
        return (x - mean) / deviation * self.weight + self.bias


_NORMS = {"batch": nn.BatchNorm1d, "reference": ReferenceBatchNorm, "layer": nn.LayerNorm, None: None}


class Block(NamedTuple):
    """One hidden layer without dropout."""

    linear: nn.Linear
    norm: nn.Module | None
    activation: nn.LeakyReLU


class MLP(nn.Sequential):
    """Fully connected hidden layers, each linear -> norm -> leaky ReLU -> dropout.

    Parameters
    ----------
    n_input, hidden
        Widths of the input and of the hidden layers; the last one is the width of the output.
    norm
        Normalisation of each hidden layer; ``"reference"`` is :class:`ReferenceBatchNorm`.
    dropout
        Dropout probability of each hidden layer.
    """

    def __init__(
        self,
        n_input: int,
        hidden: Sequence[int],
        *,
        norm: Literal["batch", "reference", "layer"] | None = "batch",
        dropout: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in zip([n_input, *hidden[:-1]], hidden, strict=True):
            layers.append(nn.Linear(n_in, n_out))
            if norm is not None:
                layers.append(_NORMS[norm](n_out))
            layers.append(nn.LeakyReLU(0.2))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)

    def blocks(self) -> list[Block]:
        """Parts of each hidden layer."""
        layers = list(self)
        starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
        blocks = []
        for start, end in pairwise([*starts, len(layers)]):
            linear, *norm, activation = layers[start:end]
            blocks.append(Block(linear, norm[0] if norm else None, activation))
        return blocks
