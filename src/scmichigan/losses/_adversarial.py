"""What critic and generator minimise, what keeps critics smooth, and what holds generators to their codes.

Scores have shape ``(n_minibatch,)``, slopes (gradients of the scores with respect to the cells)
``(n_minibatch, n_genes)``.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


def wasserstein_critic_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E D(fake) - E D(real)``: minus the critic's estimate of the Wasserstein distance.

    References
    ----------
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3.
    """
    return score_fake.mean() - score_real.mean()


def wasserstein_generator_loss(score_fake: torch.Tensor) -> torch.Tensor:
    """``-E D(fake)``."""
    return -score_fake.mean()


def relativistic_critic_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E log(1 + exp(D(fake) - D(real)))`` over pairs of a real and a generated cell.

    Here the cells of a pair have the same condition, so that the critic never gains by telling conditions apart.

    References
    ----------
    Jolicoeur-Martineau 2019, "The relativistic discriminator", equation 7; Huang et al. 2024, "The GAN is dead; long
    live the GAN", equation 2.
    """
    return softplus(score_fake - score_real).mean()


def relativistic_generator_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E log(1 + exp(D(real) - D(fake)))``, the critic's loss with the players exchanged."""
    return softplus(score_real - score_fake).mean()


def unit_slope_penalty(slope: torch.Tensor) -> torch.Tensor:
    r"""Mean squared distance of the slopes' norms from 1, :math:`E (||\nabla D||_2 - 1)^2`.

    For slopes at random mixes of a real and a generated cell of the same condition.

    References
    ----------
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3.
    """
    return (slope.norm(dim=1) - 1).square().mean()


def zero_slope_penalty(slope: torch.Tensor) -> torch.Tensor:
    r"""Mean squared norm of the slopes, :math:`E ||\nabla D||_2^2`.

    R1 for slopes at real cells, R2 for slopes at generated ones.

    References
    ----------
    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equations 9 and 10.
    """
    return slope.square().sum(1).mean()


def code_error(inferred: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    r"""``-E log Q(code | x)`` for :math:`Q = N(\mathrm{inferred}, I)`, up to a constant.

    Minus this is a lower bound of the mutual information of codes and cells, up to the entropy of the codes.

    Parameters
    ----------
    inferred, code
        Shape ``(n_minibatch, n_codes)``.

    References
    ----------
    Chen et al. 2016, "InfoGAN", equation 5; Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN".
    """
    return (inferred - code).square().sum(1).mean() / 2
