"""Critic of all GANs: a body, and what it makes of the condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ._mlp import MLP


class Critic(nn.Module):
    r"""Scores cells, given their condition where there is one.

    Parameters
    ----------
    n_input
        Genes.
    n_condition
        Columns of the condition.
    hidden
        Widths of the body h; the last one is the width of its output.
    head
        What becomes of the condition c. ``"projection"``: the score is :math:`w \cdot h(x) + (V c) \cdot h(x)` (Miyato
        and Koyama 2018). With as many condition columns as units of h, :math:`V = I` is the paper's head; here V is
        learned, which fits any number of columns. ``"concatenation"``: :math:`w \cdot h([x, c])`. ``None``: the condition
        is not looked at.
    n_codes
        Codes that :meth:`codes` infers from a cell; 0 for none.
    norm, activation
        See :class:`MLP`.

    Attributes
    ----------
    input_scale, condition_scale
        What cells and conditions are multiplied by on the way in: 1, unless set.
    """

    def __init__(
        self,
        n_input: int,
        n_condition: int,
        *,
        hidden: Sequence[int] = (1024, 512, 10),
        head: Literal["projection", "concatenation"] | None = "projection",
        n_codes: int = 0,
        norm: Literal["batch", "layer"] | None = None,
        activation: Literal["relu", "leaky_relu"] = "leaky_relu",
    ) -> None:
        super().__init__()
        self.n_input = n_input
        self.head = head
        n_body = n_input + n_condition if head == "concatenation" else n_input
        self.body = MLP(n_body, hidden, norm=norm, activation=activation)
        self.score = nn.Linear(hidden[-1], 1)
        self.projection = None
        if head == "projection":
            self.projection = nn.Linear(n_condition, hidden[-1], bias=False)
            with torch.no_grad():  # so that neither term of the score drowns the other in wide bodies
                self.projection.weight.mul_(hidden[-1] ** -0.5)
        self.code = nn.Linear(hidden[-1], n_codes) if n_codes else None
        self.couples_cells = norm == "batch"
        self.piecewise_linear = norm is None
        self.register_buffer("input_scale", torch.ones(n_input))
        self.register_buffer("condition_scale", torch.ones(n_condition))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Scores, shape ``(n_cells,)``."""
        return (self.body(self._input(x, condition)) * self._direction(condition)).sum(1) + self.score.bias

    def codes(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Means of the codes given the cells, shape ``(n_cells, n_codes)``; their variances are 1.

        References
        ----------
        Chen et al. 2016, "InfoGAN".
        """
        return self.code(self.body(self._input(x, condition)))

    def score_and_slope(self, x: torch.Tensor, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores, and their gradient with respect to each cell, as functions of the weights.

        Without a norm the body is linear between the kinks of its activations. The gradient is then a chain of
        products with the transposed weights, one for each layer, that takes a single backward pass to differentiate
        where automatic differentiation takes two.

        Returns
        -------
        Shapes ``(n_cells,)`` and ``(n_cells, n_genes)``.
        """
        if not self.piecewise_linear:
            x = x.detach().requires_grad_(True)
            score = self(x, condition)
            (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
            return score, slope
        h, passed = self._input(x, condition), []
        direction = self._direction(condition)
        for layer in self.body:
            if isinstance(layer, nn.Linear):
                weight, y = layer.weight, layer(h)
            else:
                h = layer(y)
                # An activation of slope 1 or less: what it passes on of y is its derivative, constant between kinks.
                passed.append((weight, torch.where(y > 0, 1.0, getattr(layer, "negative_slope", 0.0))))
        slope = direction
        for i, (weight, derivative) in reversed(list(enumerate(passed))):
            slope = (slope * derivative) @ (weight if i else weight[:, : self.n_input])
        return (h * direction).sum(1) + self.score.bias, slope * self.input_scale

    def _input(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        x = x * self.input_scale
        return torch.cat([x, condition * self.condition_scale], dim=1) if self.head == "concatenation" else x

    def _direction(self, condition: torch.Tensor) -> torch.Tensor:
        if self.projection is None:
            return self.score.weight
        return self.score.weight + self.projection(condition * self.condition_scale)
