"""Parts of the KL divergence (Chen et al. 2018, "Isolating sources of disentanglement in variational autoencoders").

Legend: i the cell whose posterior a latent is a sample of, j the cell whose posterior is evaluated, k latent dimension.
"""

import math
from typing import Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# The exponential of less adds nothing to 1, even in double precision and over all cells. But it can be a subnormal number,
# with which computations take many times as long.
_LEAST_EXPONENT = -60.0


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
    n_minibatch, n_obs
        Cells in the minibatch (B >= 2) and in the training data (N >= B).
    device, dtype
        Of the weights, whose shape is ``(n_minibatch, n_minibatch)``.

    Raises
    ------
    ValueError
        If there are fewer than two cells, or more in the minibatch than in the training data.

    References
    ----------
    Chen et al. 2018, appendix C.2.
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
    z, mean, scale
        One posterior sample of each cell, means and standard deviations of the posteriors, shape ``(n_minibatch, n_latent)``.
    n_obs
        Cells in the training data.

    Returns
    -------
    The three parts in nats, each of shape ``(n_minibatch,)``; average over cells. The densities are estimated without bias,
    but their logarithms are too small, that of the joint density most. So the total correlation is underestimated, more in
    smaller minibatches, and can be negative; the mutual information is overestimated by as much.

    References
    ----------
    Chen et al. 2018, equation 2; Yu and Welch 2021, Methods.
    """
    logw_ij = stratified_log_weights(z.shape[0], n_obs, device=z.device, dtype=z.dtype)
    # Sums over j and k are over rows of contiguous memory, or whole slices.
    columns = (a.T.contiguous() for a in (z, mean, scale))
    logq_given_x_i, logq_joint_i, logq_product_i = _LogDensities.apply(*columns, logw_ij)
    logp_i = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    return TotalCorrelationParts(
        mutual_information=logq_given_x_i - logq_joint_i,
        total_correlation=logq_joint_i - logq_product_i,
        dimension_wise_kl=logq_product_i - logp_i,
    )


class _LogDensities(Function):
    r"""Log densities of each sample: of its own cell, aggregate, and product of the aggregate's dimensions.

    Automatic differentiation would keep several times as many numbers for each pair of cells.
    """

    @staticmethod
    def forward(
        ctx: Any, z_ki: torch.Tensor, mean_kj: torch.Tensor, scale_kj: torch.Tensor, logw_ij: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        precision_kj = scale_kj.reciprocal()
        standardised_kij = (z_ki[:, :, None] - mean_kj[:, None]).mul_(precision_kj[:, None])
        log_normaliser_kj = scale_kj.log() + 0.5 * math.log(2 * math.pi)
        logq_kij = torch.addcmul(-log_normaliser_kj[:, None], standardised_kij, standardised_kij, value=-0.5)
        own_i = logq_kij.diagonal(dim1=1, dim2=2).sum(0)
        joint_i, terms_ij = _log_sum(logq_kij.sum(0).add_(logw_ij))
        product_ki, terms_kij = _log_sum(logq_kij.add_(logw_ij))
        ctx.save_for_backward(standardised_kij, precision_kj, *terms_ij, *terms_kij)
        return own_i, joint_i, product_ki.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, own_i: torch.Tensor, joint_i: torch.Tensor, product_i: torch.Tensor) -> tuple[Any, ...]:
        standardised_kij, precision_kj, term_ij, sum_i1, term_kij, sum_ki1 = ctx.saved_tensors
        of_all_ij = term_ij * (joint_i[:, None] / sum_i1)
        of_all_ij.diagonal().add_(own_i)
        logq_kij = torch.addcmul(of_all_ij, term_kij, product_i[:, None] / sum_ki1)
        along_kij = logq_kij * standardised_kij
        z_ki = -(along_kij @ precision_kj[:, :, None]).squeeze(2)
        mean_kj = along_kij.sum(1) * precision_kj
        scale_kj = (along_kij.mul_(standardised_kij).sum(1) - logq_kij.sum(1)) * precision_kj
        return z_ki, mean_kj, scale_kj, None


def _log_sum(x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Logarithm of the sum of exponentials over the last axis; the exponentials and their sum, both on one scale."""
    top = x.amax(-1, keepdim=True)
    terms = (x - top).clamp_min_(_LEAST_EXPONENT).exp_()
    total = terms.sum(-1, keepdim=True)
    return (total.log() + top).squeeze(-1), (terms, total)
