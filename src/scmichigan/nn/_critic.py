"""Critic with a projection head (Miyato and Koyama 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ._mlp import MLP


class ProjectionCritic(nn.Module):
    r"""Scores cells given their condition: :math:`w \cdot h(x) + (V c) \cdot h(x)`.

    With as many condition columns as units of h, :math:`V = I` is the paper's head; here V is learned, which fits
    any number of columns.

    Parameters
    ----------
    n_input
        Genes.
    n_condition
        Columns of the condition.
    hidden
        Widths of the body; the last one is the width of h.
    norm, activation
        See :class:`MLP`.
    """

    def __init__(
        self,
        n_input: int,
        n_condition: int,
        *,
        hidden: Sequence[int] = (1024, 512, 10),
        norm: Literal["batch", "layer"] | None = None,
        activation: Literal["relu", "leaky_relu"] = "leaky_relu",
    ) -> None:
        super().__init__()
        self.body = MLP(n_input, hidden, norm=norm, activation=activation)
        self.score = nn.Linear(hidden[-1], 1)
        self.projection = nn.Linear(n_condition, hidden[-1], bias=False)
        self.couples_cells = norm == "batch"

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Scores, shape ``(n_cells,)``."""
        h = self.body(x)
        return self.score(h).squeeze(1) + (self.projection(condition) * h).sum(1)
