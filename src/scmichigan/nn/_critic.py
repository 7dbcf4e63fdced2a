"""Critic of all GANs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ._mlp import MLP
from ._slopes import scores_and_slopes

# Columns of zeros fill the body's input up to a multiple of this: products of matrices with odd rows are slower.
_ALIGNMENT = 16


class Critic(nn.Module):
    r"""Scores cells, given their condition where there is one.

    Parameters
    ----------
    n_input, n_condition
        Genes; columns of the condition.
    hidden
        Widths of the body h; the last one is the width of its output.
    head
        How the condition c is used. ``"projection"``: the score is :math:`w \cdot h(x) + (V c) \cdot h(x)` (Miyato and
        Koyama 2018). V is learned; where it is square it starts at the identity, the paper's head. ``"concatenation"``:
        :math:`w \cdot h([x, c])`. ``None``: not at all.
    n_components
        Linear combinations of the genes, such as principal components, that the body sees beside them: what cells have in
        common in many genes is hard to find among the noise of each.
    n_codes
        Codes that :meth:`codes` infers from a cell; 0 for none.
    norm
        ``"batch"`` uses the statistics of real cells for all cells (:class:`ReferenceBatchNorm`). Those of generated cells
        would remove what these have in common, such as their mean expression, and the generator could not learn it; those
        of both would hide how different they are. It also makes a cell's score independent of other generated cells, as
        the penalty on slopes assumes.

    Attributes
    ----------
    input_scale, condition_mean, condition_scale
        Cells are multiplied by the first. From conditions the second is subtracted, then they are multiplied by the third.
        They are 1, 0 and 1, unless set.
    components
        Weights of the scaled genes in each component, shape ``(n_input, n_components)``: 0, unless set.
    """

    def __init__(
        self,
        n_input: int,
        n_condition: int,
        *,
        hidden: Sequence[int] = (1024, 512, 10),
        head: Literal["projection", "concatenation"] | None = "projection",
        n_components: int = 0,
        n_codes: int = 0,
        norm: Literal["batch", "layer"] | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.n_components = n_components
        n_body = n_input + n_components + (n_condition if head == "concatenation" else 0)
        self.n_padding = -n_body % _ALIGNMENT
        body_norm = "reference" if norm == "batch" else norm
        self.body = MLP(n_body + self.n_padding, hidden, norm=body_norm)
        self.score = nn.Linear(hidden[-1], 1)
        self.projection = None
        if head == "projection":
            self.projection = nn.Linear(n_condition, hidden[-1], bias=False)
            if n_condition == hidden[-1]:
                nn.init.eye_(self.projection.weight)
            else:
                with torch.no_grad():  # so that neither term of the score dominates in wide bodies
                    self.projection.weight.mul_(hidden[-1] ** -0.5)
        self.code = nn.Linear(hidden[-1], n_codes) if n_codes else None
        self.register_buffer("input_scale", torch.ones(n_input))
        self.register_buffer("condition_mean", torch.zeros(n_condition))
        self.register_buffer("condition_scale", torch.ones(n_condition))
        self.register_buffer("components", torch.zeros(n_input, n_components))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Scores of cells of these conditions, shape ``(..., n_cells)``.

        In training with batch norm: of real and of generated cells together, as ``(2, n_cells, n_genes)``.
        """
        return (self.body(self._input(x, condition)) * self._direction(condition)).sum(-1) + self.score.bias

    def codes(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Means of the codes of cells, shape ``(..., n_cells, n_codes)``; their variances are 1 (InfoGAN)."""
        return self.code(self.body(self._input(x, condition)))

    def scores_and_slopes(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        condition: torch.Tensor,
        *,
        mixing: torch.Tensor | None = None,
        n_sloped: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores of real and of generated cells, and slopes: gradients of scores with respect to cells.

        Their shapes are ``(n_cells,)`` twice and ``(1 or 2, n_sloped, n_genes)``. All can be differentiated with respect to
        the weights; the cells and the statistics of batch norm are constants.

        Parameters
        ----------
        real, fake
            Real and generated cells of the same conditions, shape ``(n_cells, n_genes)``.
        condition
            Their conditions.
        mixing
            Slopes are taken at mixes of the real and the generated cell with these fractions of the real one, shape
            ``(n_cells, 1)``; ``None`` takes them at the real and at the generated cells.
        n_sloped
            Slopes are taken at the first of the pairs of cells, so many; at all by default.
        """
        x = self._input(torch.stack([real, fake]), condition)
        direction = self._direction(condition)
        scores, slopes = scores_and_slopes(self.body, x, direction, mixing_n1=mixing, n_sloped=n_sloped)
        score_real, score_fake = scores + self.score.bias
        n_genes, n_components = self.components.shape
        at_genes, at_components = slopes[..., :n_genes], slopes[..., n_genes : n_genes + n_components]
        if n_components:
            at_genes = at_genes + at_components @ self.components.T
        return score_real, score_fake, at_genes * self.input_scale

    def _input(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        x = x * self.input_scale
        parts = [x, x @ self.components]
        if self.head == "concatenation":
            parts.append(self._standard(condition).expand(*x.shape[:-1], -1))
        return torch.cat([*parts, x.new_zeros(()).expand(*x.shape[:-1], self.n_padding)], dim=-1)

    def _direction(self, condition: torch.Tensor) -> torch.Tensor:
        if self.projection is None:
            return self.score.weight
        return self.score.weight + self.projection(self._standard(condition))

    def _standard(self, condition: torch.Tensor) -> torch.Tensor:
        return (condition - self.condition_mean) * self.condition_scale
