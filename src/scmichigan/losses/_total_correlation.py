"""Parts of the KL divergence under the aggregate posterior (Chen et al. 2018).

Legend: i the cell a latent was drawn from, j the cell whose posterior is evaluated, k latent dimension.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class TotalCorrelationParts(NamedTuple):
    """The three parts of ``KL(q(z|x) || N(0, I))``, one estimate per cell; their sum estimates the KL."""

    mutual_information: torch.Tensor
    total_correlation: torch.Tensor
    dimension_wise_kl: torch.Tensor


def stratified_log_weights(
    n_minibatch: int, n_obs: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> torch.Tensor:
    r"""Log importance weights of minibatch stratified sampling.

    In row i the cell itself weighs :math:`1/N`, one other cell :math:`(N - B + 1) / (N (B - 1))` and every
    remaining cell :math:`1 / (B - 1)`, so that each row sums to one and
    :math:`\sum_j W_{ij} q(z_i | x_j)` is an unbiased estimate of :math:`q(z_i)`.

    Parameters
    ----------
    n_minibatch
        Cells in the minibatch, B >= 2.
    n_obs
        Cells in the training data, N >= B.
    device, dtype
        Where and as what to create the weights.

    Returns
    -------
    Tensor of shape ``(n_minibatch, n_minibatch)``.

    Raises
    ------
    ValueError
        If there are fewer than two cells, or more in the minibatch than in the training data.

    References
    ----------
    Chen et al. 2018, "Isolating sources of disentanglement in variational autoencoders", appendix C.2.
    """
    if not 2 <= n_minibatch <= n_obs:
        raise ValueError(
            f"n_minibatch is {n_minibatch} and n_obs {n_obs}: the total correlation needs at least 2 cells in a "
            "minibatch and no more than there are in the training data; change batch_size"
        )
    others = n_minibatch - 1
    w_ij = torch.full((n_minibatch, n_minibatch), 1 / others, device=device, dtype=dtype)
    rows = torch.arange(n_minibatch, device=device)
    w_ij[rows, rows] = 1 / n_obs
    w_ij[rows, (rows + 1) % n_minibatch] = (n_obs - others) / (n_obs * others)
    return w_ij.log()


def total_correlation_parts(
    z: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, *, n_obs: int
) -> TotalCorrelationParts:
    r"""Split the KL divergence into mutual information, total correlation and dimension-wise KL.

    .. math::

        E_x KL[q(z|x) || p(z)] = KL[q(z, x) || q(z) q(x)] + KL[q(z) || \prod_k q(z_k)] + \sum_k KL[q(z_k) || p(z_k)]

    with :math:`q(z)` and :math:`q(z_k)` estimated by minibatch stratified sampling.

    Parameters
    ----------
    z
        One posterior sample for each cell, shape ``(n_minibatch, n_latent)``.
    mean, scale
        Means and standard deviations of the posteriors, same shape.
    n_obs
        Cells in the training data.

    Returns
    -------
    The three parts in nats, each of shape ``(n_minibatch,)``; average over cells. The densities are estimated without
    bias, their logarithms from below, the joint one most: the total correlation is underestimated, the more the smaller
    the minibatch, and can come out negative; the mutual information is overestimated by as much.

    References
    ----------
    Chen et al. 2018, equation 2; Yu and Welch 2021, Methods.
    """
    logw_ij = stratified_log_weights(z.shape[0], n_obs, device=z.device, dtype=z.dtype)
    # Sums over j and k are over rows of contiguous memory, or whole slices.
    z_ki, mean_kj, scale_kj = (a.T.contiguous() for a in (z, mean, scale))
    standardised_kij = (z_ki[:, :, None] - mean_kj[:, None]) * scale_kj.reciprocal()[:, None]
    log_normaliser_kj = scale_kj.log() + 0.5 * math.log(2 * math.pi)
    logq_kij = torch.addcmul(-log_normaliser_kj[:, None], standardised_kij, standardised_kij, value=-0.5)

    logq_joint_i = torch.logsumexp(logw_ij + logq_kij.sum(0), dim=1)
    logq_product_i = torch.logsumexp(logw_ij + logq_kij, dim=2).sum(0)
    logq_given_x_i = logq_kij.diagonal(dim1=1, dim2=2).sum(0)
    logp_i = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    return TotalCorrelationParts(
        mutual_information=logq_given_x_i - logq_joint_i,
        total_correlation=logq_joint_i - logq_product_i,
        dimension_wise_kl=logq_product_i - logp_i,
    )
