"""Wasserstein losses with gradient penalty (Gulrajani et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch


def critic_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E D(fake) - E D(real)``: minus the critic's estimate of the Wasserstein distance.

    Parameters
    ----------
    score_real, score_fake
        Critic scores, shape ``(n_minibatch,)``.
    """
    return score_fake.mean() - score_real.mean()


def generator_loss(score_fake: torch.Tensor) -> torch.Tensor:
    """``-E D(fake)``.

    Parameters
    ----------
    score_fake
        Critic scores of generated cells, shape ``(n_minibatch,)``.
    """
    return -score_fake.mean()


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    r"""Mean squared distance of the critic's gradient norm from 1.

    :math:`E (||\nabla D(\tilde x)||_2 - 1)^2` at :math:`\tilde x = \epsilon x + (1 - \epsilon) x'`, one
    :math:`\epsilon \sim U(0, 1)` for each cell.

    Parameters
    ----------
    critic
        Maps ``(n_minibatch, n_genes)`` to scores ``(n_minibatch,)``; a conditional critic has its condition bound,
        so that both ends of a mix share it.
    real, fake
        Real and generated cells in the same order of conditions, shape ``(n_minibatch, n_genes)``.
    generator
        Random numbers for the mixing weights.

    Returns
    -------
    Scalar, to be multiplied by the penalty's weight (10 in the paper).

    References
    ----------
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3.
    """
    weight = torch.rand(real.shape[0], 1, device=real.device, dtype=real.dtype, generator=generator)
    mixed = (weight * real.detach() + (1 - weight) * fake.detach()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()
