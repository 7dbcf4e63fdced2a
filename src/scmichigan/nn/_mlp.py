"""Multilayer perceptron shared by all networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import nn

_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, None: None}
_ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


class Block(NamedTuple):
    """One hidden layer without dropout."""

    linear: nn.Linear
    norm: nn.Module | None
    activation: nn.Module


class MLP(nn.Sequential):
    """Fully connected hidden layers, each linear -> norm -> activation -> dropout.

    Parameters
    ----------
    n_input
        Width of the input.
    hidden
        Widths of the hidden layers; the last one is the width of the output.
    norm
        Normalisation of each hidden layer. Batch norm couples the cells of a minibatch, so a critic with a
        per-cell gradient penalty should not have it (Gulrajani et al. 2017, section 4).
    activation
        Nonlinearity of each hidden layer.
    dropout
        Dropout probability of each hidden layer.
    """

    def __init__(
        self,
        n_input: int,
        hidden: Sequence[int],
        *,
        norm: Literal["batch", "layer"] | None = "batch",
        activation: Literal["relu", "leaky_relu"] = "leaky_relu",
        dropout: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in zip([n_input, *hidden[:-1]], hidden, strict=True):
            layers.append(nn.Linear(n_in, n_out))
            if norm is not None:
                layers.append(_NORMS[norm](n_out))
            layers.append(_ACTIVATIONS[activation]())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n_cells, n_input)`` to ``(n_cells, hidden[-1])``."""
        return super().forward(x)

    def blocks(self) -> list[Block]:
        """Hidden layers, for what has to know more of them than their output."""
        layers = list(self)
        starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
        blocks = []
        for start, end in pairwise([*starts, len(layers)]):
            linear, *norm, activation = layers[start:end]
            blocks.append(Block(linear, norm[0] if norm else None, activation))
        return blocks
