"""What happens to a minibatch before it meets a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import one_hot


def log_normalize(counts: torch.Tensor, size_factor: torch.Tensor | None, *, target_sum: float) -> torch.Tensor:
    """``log1p(target_sum * counts / size_factor)``.

    Parameters
    ----------
    counts
        Raw counts, shape ``(n_cells, n_genes)``.
    size_factor
        Total of each cell, shape ``(n_cells, 1)``; ``None`` takes the sum over the given genes.
    target_sum
        Total that each cell is scaled to.
    """
    if size_factor is None:
        size_factor = counts.sum(1, keepdim=True).clamp_min(1)  # thinning may leave no counts
    return torch.log1p(counts * (target_sum / size_factor))


def n_covariate_columns(n_batch: int, n_cats_per_cov: Sequence[int], n_continuous_cov: int) -> int:
    """Width of what :func:`encode_covariates` returns."""
    sizes = [n_batch, *n_cats_per_cov]
    return sum(n for n in sizes if n > 1) + n_continuous_cov


def encode_covariates(
    batch_index: torch.Tensor,
    cat_covs: torch.Tensor | None,
    cont_covs: torch.Tensor | None,
    *,
    n_batch: int,
    n_cats_per_cov: Sequence[int],
) -> torch.Tensor:
    """Columns that stand for batch and covariates: one-hot for categories, as they are for numbers.

    A category with a single level carries nothing and gets no column.

    Parameters
    ----------
    batch_index
        Integer codes, shape ``(n_cells, 1)``.
    cat_covs
        Integer codes, shape ``(n_cells, n_categorical)``, or ``None``.
    cont_covs
        Numbers, shape ``(n_cells, n_continuous)``, or ``None``.
    n_batch, n_cats_per_cov
        Levels of the batch and of each categorical covariate.
    """
    codes = [batch_index] if cat_covs is None else [batch_index, *cat_covs.split(1, dim=1)]
    columns = [
        one_hot(code.squeeze(1).long(), n).float()
        for code, n in zip(codes, [n_batch, *n_cats_per_cov], strict=True)
        if n > 1
    ]
    if cont_covs is not None:
        columns.append(cont_covs.float())
    return torch.cat(columns, dim=1) if columns else batch_index.new_zeros((len(batch_index), 0), dtype=torch.float32)
