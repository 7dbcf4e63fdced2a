"""Adversarial losses and penalties, and the table of those that a GAN can be trained with.

Shapes: scores ``(n_minibatch,)``, slopes (gradients of the scores with respect to the cells) ``(n_minibatch, n_genes)``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus


@dataclass(frozen=True)
class AdversarialLoss:
    """What critic and generator minimise: one row of ``ADVERSARIAL_LOSSES``.

    Parameters
    ----------
    critic
        Loss of the critic, given the scores of real and of generated cells.
    generator
        Loss of the generator, given the same; the scores of real cells are ``None`` without ``needs_real``.
    penalty, penalty_weight
        Penalty on slopes, which is added to the critic's loss, and its weight, unless another one is given.
    at_mixes
        Whether slopes are taken at random mixes of a real and a generated cell of the same condition. Otherwise they are
        taken at both, and the penalties are added.
    cells_per_slope, needs_real
        One cell in so many has its slope taken; whether the generator's loss depends on the scores of real cells.
    """

    critic: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor | None, torch.Tensor], torch.Tensor]
    penalty: Callable[[torch.Tensor], torch.Tensor]
    penalty_weight: float
    at_mixes: bool
    cells_per_slope: int
    needs_real: bool


def wasserstein_critic_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E D(fake) - E D(real)``: minus the critic's estimate of the Wasserstein distance.

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3.
    """
    return score_fake.mean() - score_real.mean()


def wasserstein_generator_loss(score_fake: torch.Tensor) -> torch.Tensor:
    """``-E D(fake)``."""
    return -score_fake.mean()


def relativistic_critic_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E log(1 + exp(D(fake) - D(real)))`` over pairs of a real and a generated cell of the same condition.

    Jolicoeur-Martineau 2019, "The relativistic discriminator", equation 7; Huang et al. 2024, "The GAN is dead; long
    live the GAN", equation 2.
    """
    return softplus(score_fake - score_real).mean()


def relativistic_generator_loss(score_real: torch.Tensor, score_fake: torch.Tensor) -> torch.Tensor:
    """``E log(1 + exp(D(real) - D(fake)))``: the critic's loss with real and generated cells exchanged."""
    return softplus(score_real - score_fake).mean()


def unit_slope_penalty(slope: torch.Tensor) -> torch.Tensor:
    r"""Mean squared distance of the slopes' norms from 1, :math:`E (||\nabla D||_2 - 1)^2`.

    For slopes at random mixes of a real and a generated cell; source as in :func:`wasserstein_critic_loss`.
    """
    return (slope.norm(dim=1) - 1).square().mean()


def zero_slope_penalty(slope: torch.Tensor) -> torch.Tensor:
    r"""Mean squared norm of the slopes, :math:`E ||\nabla D||_2^2`.

    R1 for slopes at real cells, R2 for slopes at generated ones (Mescheder et al. 2018, "Which training methods for GANs do
    actually converge?", equations 9 and 10).
    """
    return slope.square().sum(1).mean()


def code_error(inferred: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    r"""``-E log Q(code | x)`` for :math:`Q = N(\mathrm{inferred}, I)`, up to a constant.

    Shapes ``(n_minibatch, n_codes)``. Minus this plus the codes' entropy is a lower bound of the mutual information of codes
    and cells (Chen et al. 2016, "InfoGAN", equation 5; Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN").
    """
    return (inferred - code).square().sum(1).mean() / 2


ADVERSARIAL_LOSSES = {
    "relativistic": AdversarialLoss(
        relativistic_critic_loss,
        relativistic_generator_loss,
        zero_slope_penalty,
        penalty_weight=0.5,
        at_mixes=False,
        cells_per_slope=4,  # a fourth is enough, and all cells would take a fifth more time
        needs_real=True,
    ),
    "wgan-gp": AdversarialLoss(
        wasserstein_critic_loss,
        lambda _, score_fake: wasserstein_generator_loss(score_fake),
        unit_slope_penalty,
        penalty_weight=10.0,
        at_mixes=True,
        cells_per_slope=1,
        needs_real=False,
    ),
}
