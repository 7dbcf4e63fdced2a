"""Transforms of counts and covariates before a network sees them."""

from collections.abc import Sequence

import torch
from torch.nn.functional import one_hot


def log_normalize(counts: torch.Tensor, size_factor: torch.Tensor | None, *, target_sum: float) -> torch.Tensor:
    """``log1p(target_sum * counts / size_factor)`` of counts ``(n_cells, n_genes)``.

    ``size_factor`` is the total of each cell, shape ``(n_cells, 1)``; ``None`` takes the sum over the given genes.
    """
    if size_factor is None:
        size_factor = counts.sum(1, keepdim=True).clamp_min(1)  # thinning may leave no counts
    return torch.log1p(counts * (target_sum / size_factor))


def poisson_log_normalized(rate: torch.Tensor, size_factor: torch.Tensor | None, *, target_sum: float) -> torch.Tensor:
    r"""Sample Poisson counts and log-normalise them, with a gradient with respect to their rates.

    The values are ``log1p(target_sum * counts / size_factor)``. The gradient of a rate is the difference that one more count
    makes, since :math:`\frac{d}{d\lambda} E f(c) = E[f(c + 1) - f(c)]` for :math:`c \sim \mathrm{Poisson}(\lambda)`. The
    derivative of log1p would be equal for many counts, and several times too large for few.

    Parameters
    ----------
    rate
        Expected counts, shape ``(n_cells, n_genes)``.
    size_factor, target_sum
        As in :func:`log_normalize`, of the sampled counts.
    """
    with torch.no_grad():
        # torch.poisson does not pass NaN on, and the loss, which is watched for it, has to see it.
        counts = torch.poisson(rate.nan_to_num()).masked_fill(rate.isnan(), torch.nan)
        total = counts.sum(1, keepdim=True).clamp_min(1) if size_factor is None else size_factor
        scale = target_sum / total
        x = torch.log1p(counts * scale)
        if not rate.requires_grad:
            return x
        one_more = torch.log1p((counts + 1) * scale) - x
    return x + (rate - rate.detach()) * one_more


def encode_covariates(
    batch_index: torch.Tensor,
    cat_covs: torch.Tensor | None,
    cont_covs: torch.Tensor | None,
    *,
    n_batch: int,
    n_cats_per_cov: Sequence[int],
) -> torch.Tensor:
    """Columns of batch and covariates: one-hot for categories of more than one level, numbers unchanged.

    Parameters
    ----------
    batch_index, cat_covs
        Integer codes, shapes ``(n_cells, 1)`` and ``(n_cells, n_categorical)``.
    cont_covs
        Numbers, shape ``(n_cells, n_continuous)``.
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
