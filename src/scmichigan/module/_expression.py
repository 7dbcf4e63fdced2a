"""What both modules do alike with a minibatch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scvi import REGISTRY_KEYS
from torch import nn

from scmichigan.nn import encode_covariates, log_normalize, n_covariate_columns


class ExpressionInputs(nn.Module):
    """Turns registered tensors into log-normalised expression and covariate columns.

    Parameters
    ----------
    n_batch, n_cats_per_cov, n_continuous_cov
        Levels of the batch and of each categorical covariate; number of continuous ones.
    counts
        Whether the registered expression is raw counts.
    target_sum
        Total that counts are scaled to.
    """

    def __init__(
        self,
        *,
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] = (),
        n_continuous_cov: int = 0,
        counts: bool = True,
        target_sum: float = 1e4,
    ) -> None:
        super().__init__()
        self.n_batch = n_batch
        self.n_cats_per_cov = tuple(n_cats_per_cov)
        self.n_columns = n_covariate_columns(n_batch, self.n_cats_per_cov, n_continuous_cov)
        self.counts = counts
        self.target_sum = target_sum

    def expression(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Log-normalised expression, shape ``(n_cells, n_genes)``."""
        x = tensors[REGISTRY_KEYS.X_KEY]
        if not self.counts:
            return x
        return log_normalize(x, tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY), target_sum=self.target_sum)

    def totals(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Total counts of each cell, shape ``(n_cells, 1)``: registered, or the sum over the genes."""
        registered = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        return tensors[REGISTRY_KEYS.X_KEY].sum(1, keepdim=True) if registered is None else registered

    def covariates(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Columns of batch and covariates, shape ``(n_cells, n_columns)``."""
        return encode_covariates(
            tensors[REGISTRY_KEYS.BATCH_KEY],
            tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
            n_batch=self.n_batch,
            n_cats_per_cov=self.n_cats_per_cov,
        )
