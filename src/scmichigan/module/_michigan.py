"""Module of MichiGAN: generator, critic and averaged generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scmichigan._keys import LATENT_MEAN_TENSOR, LATENT_VAR_TENSOR
from scmichigan.losses import critic_loss, generator_loss, gradient_penalty
from scmichigan.nn import ClosedFormGenerator, ProjectionCritic

from ._expression import ExpressionInputs


class MichiGANModule(BaseModuleClass):
    """Conditional Wasserstein GAN on stored latents.

    The condition of a cell is its latent beside the columns of its batch and covariates.

    Parameters
    ----------
    n_input
        Genes.
    n_latent
        Latent dimensions.
    n_noise
        Dimensions of the generator's standard normal noise.
    generator_hidden, critic_hidden
        Widths of the hidden layers; the critic's last one is the width that the projection meets.
    generator_norm, critic_norm
        ``"batch"`` for both is the paper's. Batch norm in the critic makes the penalty of a cell depend on the others.
    dropout
        Of the generator's hidden layers (0.2 in the paper).
    closed_form_start
        Whether the generator has the linear parts that a closed form can start.
    average_decay
        Decay of the moving average of the generator's weights, from which cells are then sampled; ``None`` for none.
    output_activation
        Output of the generator: ``"relu"``, ``"softplus"`` or ``None`` for the identity (the paper's).
    penalty_weight
        Weight of the gradient penalty.
    n_batch, n_cats_per_cov, n_continuous_cov, counts, target_sum
        As in :class:`BetaTCVAEModule`.

    References
    ----------
    Yu and Welch 2021, Algorithm 1 and Methods; Gulrajani et al. 2017; Miyato and Koyama 2018.
    """

    def __init__(
        self,
        n_input: int,
        n_latent: int,
        *,
        n_noise: int = 118,
        generator_hidden: Sequence[int] = (256, 512, 1024),
        critic_hidden: Sequence[int] = (1024, 512, 10),
        generator_norm: Literal["batch", "layer"] | None = "layer",
        critic_norm: Literal["batch", "layer"] | None = None,
        dropout: float = 0.0,
        closed_form_start: bool = True,
        average_decay: float | None = 0.99,
        output_activation: Literal["relu", "softplus"] | None = "relu",
        penalty_weight: float = 10.0,
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] = (),
        n_continuous_cov: int = 0,
        counts: bool = True,
        target_sum: float = 1e4,
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.n_noise = n_noise
        self.penalty_weight = penalty_weight
        self.inputs = ExpressionInputs(
            n_batch=n_batch,
            n_cats_per_cov=n_cats_per_cov,
            n_continuous_cov=n_continuous_cov,
            counts=counts,
            target_sum=target_sum,
        )
        n_condition = n_latent + self.inputs.n_columns
        self.generator = ClosedFormGenerator(
            n_condition,
            n_input,
            n_noise=n_noise,
            hidden=generator_hidden,
            linear_parts=closed_form_start,
            output=output_activation,
            norm=generator_norm,
            dropout=dropout,
        )
        self.critic = ProjectionCritic(n_input, n_condition, hidden=critic_hidden, norm=critic_norm)
        self.average_decay = average_decay
        self.averaged_generator = None
        if average_decay is not None:
            self.averaged_generator = AveragedModel(
                self.generator, multi_avg_fn=get_ema_multi_avg_fn(average_decay), use_buffers=True
            ).requires_grad_(False)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor | None]:
        return {
            "mean": tensors[LATENT_MEAN_TENSOR],
            "var": tensors.get(LATENT_VAR_TENSOR),
            "covariates": self.inputs.covariates(tensors),
        }

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict, **kwargs
    ) -> dict[str, torch.Tensor]:
        return {"condition": inference_outputs["condition"]}

    @auto_move_data
    def inference(
        self, mean: torch.Tensor, var: torch.Tensor | None, covariates: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Condition of each cell: its latent mean, or a fresh sample where a variance is given."""
        z = mean if var is None else mean + var.sqrt() * torch.randn_like(mean)
        return {"z": z, "condition": torch.cat([z, covariates], dim=1)}

    @auto_move_data
    def generative(self, condition: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Generated expression ``x`` of shape ``(n_cells, n_genes)``, from fresh noise unless it is given."""
        if noise is None:
            noise = condition.new_empty(len(condition), self.n_noise).normal_()
        return {"x": self.generator(condition, noise)}

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict,
        generative_outputs: dict,
        player: Literal["critic", "generator"] = "generator",
    ) -> LossOutput:
        """Loss of one player, with its parts in ``extra_metrics``."""
        condition, fake = inference_outputs["condition"], generative_outputs["x"]
        if player == "generator":
            loss = generator_loss(self.critic(fake, condition))
            return LossOutput(loss=loss, n_obs_minibatch=len(fake), extra_metrics={"generator_loss": loss})
        real = self.inputs.expression(tensors)
        if self.critic.couples_cells:
            score_real, score_fake = self.critic(real, condition), self.critic(fake, condition)
        else:
            both = self.critic(torch.cat([real, fake]), condition.repeat(2, 1))
            score_real, score_fake = both.chunk(2)
        negative_distance = critic_loss(score_real, score_fake)
        penalty = gradient_penalty(lambda x: self.critic(x, condition), real, fake)
        loss = negative_distance + self.penalty_weight * penalty
        return LossOutput(
            loss=loss,
            n_obs_minibatch=len(real),
            extra_metrics={
                "critic_loss": loss,
                "gradient_penalty": penalty,
                "wasserstein_estimate": -negative_distance,
            },
        )

    @torch.no_grad()
    def start(self, weight: torch.Tensor, bias: torch.Tensor, loadings: torch.Tensor) -> None:
        """Set the linear parts of the generator and of its average; see :meth:`ClosedFormGenerator.start`."""
        self.generator.start(weight, bias, loadings)
        if self.averaged_generator is not None:
            self.averaged_generator.module.load_state_dict(self.generator.state_dict())

    def update_average(self) -> None:
        """Take one step of the moving average of the generator's weights."""
        if self.averaged_generator is not None:
            self.averaged_generator.update_parameters(self.generator)

    @auto_move_data
    @torch.inference_mode()
    def sample(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Cells of the averaged generator (of the generator itself where there is no average)."""
        generator = self.generator if self.averaged_generator is None else self.averaged_generator.module
        return generator(condition, noise)
