"""Modules of the beta-TCVAE: their base, and the one with a normal likelihood."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn
from torch.distributions import Distribution, Normal, kl_divergence
from torch.nn.functional import mse_loss, softplus

from scmichigan.losses import total_correlation_parts
from scmichigan.nn import MLP

from ._expression import CellFormat, ExpressionInputs

_MIN_SCALE = 1e-4


class TCVAEBase(BaseModuleClass):
    """Posterior of log-normalised expression, and a loss that weighs the total correlation; a base only."""

    makes_counts: ClassVar[bool]

    def __init__(self, *, n_latent: int, beta: float, kl_weight: float, cells: CellFormat) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.beta = beta
        self.kl_weight = kl_weight
        self.inputs = ExpressionInputs(cells)

    @abstractmethod
    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and standard deviations of the posteriors, shape ``(n_cells, n_latent)``."""

    @abstractmethod
    def reconstruction(self, tensors: dict[str, torch.Tensor], x: torch.Tensor, px: Distribution) -> torch.Tensor:
        """``-log p`` of each cell, summed over genes."""

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor]:
        return {"x": self.inputs.expression(tensors)}

    @auto_move_data
    def inference(self, x: torch.Tensor) -> dict[str, torch.Tensor | Normal]:
        """Posterior ``qz``, one sample ``z`` of shape ``(n_cells, n_latent)``, and the expression it is inferred from."""
        qz = Normal(*self.encode(x), validate_args=False)
        return {"qz": qz, "z": qz.rsample(), "x": x}

    @torch.inference_mode()
    def sample(self, *inputs: torch.Tensor, noise: bool = False) -> torch.Tensor:
        """Mean of the likelihood given the inputs of ``generative``, or with ``noise`` a sample, ``(n_cells, n_genes)``."""
        px = self.generative(*inputs)["px"]
        return px.sample() if noise else px.mean

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict,
        generative_outputs: dict,
        n_obs: int = 1,
        **weight: float,
    ) -> LossOutput:
        """Loss and its parts; ``n_obs`` is the number of training cells, ``kl_weight`` the module's unless it is given."""
        # As a named parameter, scvi-tools' plan would warm it up.
        kl_weight = weight.pop("kl_weight", self.kl_weight)
        if weight:
            raise TypeError(f"loss has no {', '.join(weight)}")
        qz, z, x = (inference_outputs[name] for name in ("qz", "z", "x"))
        reconstruction_n = self.reconstruction(tensors, x, generative_outputs["px"])
        kl_n = kl_divergence(qz, Normal(0.0, 1.0)).sum(-1)
        loss = reconstruction_n.mean() + kl_weight * kl_n.mean()
        parts = {}
        # A single cell (the end of a validation set) has no aggregate posterior.
        if len(z) > 1:
            estimates = total_correlation_parts(z, qz.loc, qz.scale, n_obs=max(n_obs, len(z)))
            parts = {name: value.mean() for name, value in estimates._asdict().items()}
            loss = loss + self.beta * parts["total_correlation"]
        return LossOutput(loss=loss, reconstruction_loss=reconstruction_n, kl_local=kl_n, extra_metrics=parts)


class BetaTCVAEModule(TCVAEBase):
    r"""Variational autoencoder with a penalty on the total correlation of its latent.

    Loss per cell: :math:`-\log p(x|z) + w KL(q(z|x) || N(0, I)) + \beta TC(q(z))` with :math:`p(x|z) = N(\mu(z), 1)`
    on log-normalised expression, summed over genes. :math:`\beta = 0`, w = 1 is the VAE. In the three parts of the KL
    divergence that is w MI + (w + beta) TC + w dimension-wise KL. This is the paper's beta; where the loss is written
    KL + (beta - 1) TC, beta is larger by one.

    Parameters
    ----------
    n_input, n_latent
        Genes and proteins; latent dimensions.
    cells
        What is registered of each cell.
    hidden
        Widths of the encoder's hidden layers; the decoder has them reversed.
    beta, kl_weight
        Weights of the total correlation and of the whole KL divergence, w. With beta = 0, w is the beta of a beta-VAE.
    dropout
        Dropout probability of every hidden layer.

    References
    ----------
    Chen et al. 2018, equation 4; Yu and Welch 2021, Methods.
    """

    makes_counts = False

    def __init__(
        self,
        n_input: int,
        *,
        cells: CellFormat,
        n_latent: int = 10,
        hidden: Sequence[int] = (512, 256),
        beta: float = 10.0,
        kl_weight: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(n_latent=n_latent, beta=beta, kl_weight=kl_weight, cells=cells)
        self.encoder = MLP(n_input, hidden, dropout=dropout)
        self.posterior = nn.Linear(hidden[-1], 2 * n_latent)
        self.decoder = nn.Sequential(
            MLP(n_latent + self.inputs.n_columns, hidden[::-1], dropout=dropout), nn.Linear(hidden[0], n_input)
        )

    def _get_generative_input(self, tensors: dict, inference_outputs: dict, **kwargs) -> dict[str, torch.Tensor]:
        return {"z": inference_outputs["z"], "covariates": self.inputs.covariates(tensors)}

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`TCVAEBase`."""
        mean, raw_scale = self.posterior(self.encoder(x)).chunk(2, dim=1)
        # softplus underflows to zero, and the total correlation divides by the scale.
        return mean, softplus(raw_scale) + _MIN_SCALE

    @auto_move_data
    def generative(self, z: torch.Tensor, covariates: torch.Tensor) -> dict[str, Normal]:
        """Likelihood ``px`` of log-normalised expression, shape ``(n_cells, n_genes)``."""
        mean = self.decoder(torch.cat([z, covariates], dim=1))
        return {"px": Normal(mean, 1.0, validate_args=False)}

    def reconstruction(self, tensors: dict[str, torch.Tensor], x: torch.Tensor, px: Normal) -> torch.Tensor:
        """``-log p`` of each cell's log-normalised expression."""
        # -log_prob of the unit normal px, whose own method passes over cells x genes several times for the scale.
        squares_n = mse_loss(px.loc, x, reduction="none").sum(-1)
        return 0.5 * (squares_n + x.shape[1] * math.log(2 * math.pi))
