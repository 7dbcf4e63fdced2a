"""Counts that gradients pass through."""

from __future__ import annotations

import torch


def poisson_log_normalized(rate: torch.Tensor, size_factor: torch.Tensor | None, *, target_sum: float) -> torch.Tensor:
    r"""Draw Poisson counts and log-normalise them, with a gradient with respect to their rates.

    The values are ``log1p(target_sum * counts / size_factor)``. The gradient is that of the expectation of any function
    of the counts that is linear in the log-normalised values: since
    :math:`\frac{d}{d\lambda} E f(c) = E[f(c + 1) - f(c)]` for :math:`c \sim \mathrm{Poisson}(\lambda)`, a rate is given
    the difference that one count more makes. The derivative of log1p in its place would be the same for many counts,
    and several times too large for few.

    Parameters
    ----------
    rate
        Expected counts, shape ``(n_cells, n_genes)``.
    size_factor
        Total of each cell, shape ``(n_cells, 1)``; ``None`` takes the sum of the counts that were drawn.
    target_sum
        Total that counts are scaled to.

    Returns
    -------
    Shape ``(n_cells, n_genes)``.
    """
    with torch.no_grad():
        # torch.poisson refuses NaN, or makes something of it; as counts, NaN reaches the loss, which is watched.
        counts = torch.poisson(rate.nan_to_num()).masked_fill(rate.isnan(), torch.nan)
        total = counts.sum(1, keepdim=True).clamp_min(1) if size_factor is None else size_factor
        scale = target_sum / total
        x = torch.log1p(counts * scale)
        if not rate.requires_grad:
            return x
        one_more = torch.log1p((counts + 1) * scale) - x
    return x + (rate - rate.detach()) * one_more
