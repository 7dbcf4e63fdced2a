"""What all modules do alike with a minibatch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from torch import nn

from scmichigan.nn import encode_covariates, log_normalize

Columns = TypeVar("Columns", torch.Tensor, np.ndarray)


@dataclass(frozen=True)
class CellFormat:
    """What is registered of each cell.

    Parameters
    ----------
    counts
        Whether the expression is raw counts; otherwise it is log-normalised.
    has_totals
        Whether each cell's total of RNA is registered (a size factor); otherwise it is the sum over the given genes.
    target_sum
        Total that counts are scaled to, in each modality.
    n_proteins
        Proteins that were counted beside the genes, with totals of their own. They are the last columns of the expression.
    n_batch, n_cats_per_cov, n_continuous_cov
        Levels of the batch and of each categorical covariate; number of continuous covariates.
    """

    counts: bool = True
    has_totals: bool = False
    target_sum: float = 1e4
    n_proteins: int = 0
    n_batch: int = 1
    n_cats_per_cov: Sequence[int] = ()
    n_continuous_cov: int = 0


class ExpressionInputs(nn.Module):
    """Turns registered tensors into log-normalised expression and ``n_columns`` covariate columns."""

    def __init__(self, cells: CellFormat) -> None:
        super().__init__()
        self.counts = cells.counts
        self.n_proteins = cells.n_proteins
        self.target_sum = cells.target_sum
        self.n_levels = {"n_batch": cells.n_batch, "n_cats_per_cov": tuple(cells.n_cats_per_cov)}
        self.n_columns = sum(n for n in (cells.n_batch, *cells.n_cats_per_cov) if n > 1) + cells.n_continuous_cov
        self.register_buffer("number_mean", torch.zeros(cells.n_continuous_cov))
        self.register_buffer("number_scale", torch.ones(cells.n_continuous_cov))

    @torch.no_grad()
    def set_unit(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set what is subtracted from continuous covariates and what they are divided by, shape ``(n_continuous,)``."""
        self.number_mean.copy_(torch.from_numpy(mean))
        self.number_scale.copy_(torch.from_numpy(deviation))

    def unit(self) -> tuple[np.ndarray, np.ndarray]:
        """What was set so."""
        return self.number_mean.numpy(force=True), self.number_scale.numpy(force=True)

    def expression(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Log-normalised expression, shape ``(n_cells, n_genes)``."""
        if not self.counts:
            return tensors[REGISTRY_KEYS.X_KEY]
        factors = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY), None
        parts = zip(self._counts(tensors), factors, strict=False)
        return torch.cat([log_normalize(x, factor, target_sum=self.target_sum) for x, factor in parts], dim=1)

    def totals(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Total counts of each cell in each modality, shape ``(n_cells, 1 or 2)``: registered, or sums."""
        totals = [x.sum(1, keepdim=True) for x in self._counts(tensors)]
        registered = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        return torch.cat(totals if registered is None else [registered, *totals[1:]], dim=1)

    def _counts(self, tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        keys = [REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.PROTEIN_EXP_KEY][: 2 if self.n_proteins else 1]
        return [tensors[key] for key in keys]

    def split(self, x: Columns) -> list[Columns]:
        """Columns of each modality: the genes and, where there are any, the proteins."""
        return [x[:, : -self.n_proteins], x[:, -self.n_proteins :]] if self.n_proteins else [x]

    def covariates(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Columns of batch and covariates, shape ``(n_cells, n_columns)``."""
        numbers = tensors.get(REGISTRY_KEYS.CONT_COVS_KEY)
        if numbers is not None:
            numbers = (numbers - self.number_mean.to(numbers.device)) / self.number_scale.to(numbers.device)
        batch, categories = tensors[REGISTRY_KEYS.BATCH_KEY], tensors.get(REGISTRY_KEYS.CAT_COVS_KEY)
        return encode_covariates(batch, categories, numbers, **self.n_levels)
