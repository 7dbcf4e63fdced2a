"""Module of MichiGAN: generator, critic and averaged generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scmichigan import losses
from scmichigan._keys import LATENT_MEAN_TENSOR, LATENT_VAR_TENSOR
from scmichigan.nn import ClosedFormGenerator, Critic, poisson_log_normalized

from ._expression import ExpressionInputs

_CRITIC_LOSSES = {"relativistic": losses.relativistic_critic_loss, "wgan-gp": losses.wasserstein_critic_loss}
_LEAST_DEVIATION = 0.05
# One cell in so many: their slopes say enough of the critic's, and those of all would take a fifth more time.
_CELLS_PER_SLOPE = 4
_PENALTY_WEIGHTS = {"relativistic": 0.5, "wgan-gp": 10.0}


class MichiGANModule(BaseModuleClass):
    """Generator and critic of all GANs.

    The condition of a cell is its latent beside the columns of its batch and covariates.

    Parameters
    ----------
    n_input
        Genes and proteins.
    n_latent
        Latent dimensions.
    latent
        ``"stored"``: cells are generated from the latents of the real cells that they are compared with. ``"prior"``: from
        standard normal ones.
    critic_head
        What the critic makes of the condition, see :class:`~scmichigan.nn.Critic`.
    information
        Cells whose latents the critic's body is trained to infer, with unit variance: ``"generated"`` for a lower bound of
        the mutual information of latents and generated cells (InfoGAN); ``"both"`` for that of real cells and their stored
        latents, too (semi-supervised InfoGAN); ``None`` for neither.
    information_weight
        Weight of these bounds in the losses of both players.
    observation
        ``"poisson"``: the generator's output is the logarithm of each gene's rate, from which counts are drawn and
        log-normalised before the critic sees them. ``"log_normalized"``: its output is the expression.
    loss
        ``"relativistic"``: pairs of a real and a generated cell of the same condition are compared, and the critic's
        slopes at both are kept small. ``"wgan-gp"``: the paper's.
    penalty_weight
        Weight of the penalty on the critic's slopes; by default 0.5 for the sum of those at real and at generated cells,
        10 for WGAN-GP.
    n_noise
        Dimensions of the generator's standard normal noise.
    generator_hidden, critic_hidden
        Widths of the hidden layers; the critic's last one is the width that the projection meets.
    critic_components
        Principal components of the expression that the critic sees beside the genes.
    generator_norm, critic_norm
        ``"batch"`` for both is the paper's; in the critic it has the statistics of the real cells, see
        :class:`~scmichigan.nn.Critic`.
    dropout
        Of the generator's hidden layers (0.2 in the paper).
    closed_form_start
        Whether the generator has the linear parts that a closed form can start.
    scale_inputs
        Whether expression and condition are brought to comparable scales before the networks see them; the condition is so
        with ``closed_form_start``, too.
    n_centres
        Centres of the basis on which its decoder is linear.
    average_decay
        Decay of the moving average of the generator's weights, from which cells are then sampled; ``None`` for none.
    thinning
        Least share of a cell's counts that both players meet it with: the share is drawn anew at each visit, from here to 1,
        so that the critic cannot learn single cells by heart. 1 is all of them. Only where counts are made.
    output_activation
        Of log-normalised expression: ``"relu"``, ``"softplus"`` or ``None`` for the identity (the paper's).
    n_batch, n_cats_per_cov, n_continuous_cov, counts, n_proteins, target_sum
        As in :class:`BetaTCVAEModule`.
    sums_to_total
        Whether a cell's total is the sum over the given genes, as where no size factor is registered, so that rates add up
        to it; else the share that these genes have of it is learned.

    References
    ----------
    Yu and Welch 2021, Algorithm 1 and Methods; Gulrajani et al. 2017; Miyato and Koyama 2018; Chen et al. 2016, "InfoGAN",
    equation 5; Huang et al. 2024.
    """

    def __init__(
        self,
        n_input: int,
        n_latent: int,
        *,
        latent: Literal["stored", "prior"] = "stored",
        critic_head: Literal["projection", "concatenation"] | None = "projection",
        information: Literal["generated", "both"] | None = None,
        information_weight: float = 1.0,
        observation: Literal["poisson", "log_normalized"] = "log_normalized",
        loss: Literal["relativistic", "wgan-gp"] = "relativistic",
        penalty_weight: float | None = None,
        n_noise: int = 118,
        generator_hidden: Sequence[int] = (256, 512),
        critic_hidden: Sequence[int] = (512, 256, 64),
        critic_components: int = 50,
        generator_norm: Literal["batch", "layer"] | None = "layer",
        critic_norm: Literal["batch", "layer"] | None = None,
        dropout: float = 0.0,
        closed_form_start: bool = True,
        scale_inputs: bool = True,
        n_centres: int = 0,
        average_decay: float | None = 0.995,
        thinning: float = 0.75,
        output_activation: Literal["relu", "softplus"] | None = "relu",
        n_batch: int = 1,
        n_cats_per_cov: Sequence[int] = (),
        n_continuous_cov: int = 0,
        counts: bool = True,
        n_proteins: int = 0,
        target_sum: float = 1e4,
        sums_to_total: bool = False,
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.n_noise = n_noise
        self.thinning = thinning
        self.latent = latent
        self.information = information
        self.information_weight = information_weight
        self.makes_counts = observation == "poisson"
        self.sums_to_total = sums_to_total
        self.scale_inputs = scale_inputs
        self.loss_name = loss
        self.has_batch_norm = critic_norm == "batch"
        self.penalty_weight = _PENALTY_WEIGHTS[loss] if penalty_weight is None else penalty_weight
        self.inputs = ExpressionInputs(
            n_batch=n_batch,
            n_cats_per_cov=n_cats_per_cov,
            n_continuous_cov=n_continuous_cov,
            counts=counts,
            n_proteins=n_proteins,
            target_sum=target_sum,
        )
        n_condition = n_latent + self.inputs.n_columns
        self.generator = ClosedFormGenerator(
            n_condition,
            n_input,
            n_noise=n_noise,
            hidden=generator_hidden,
            linear_parts=closed_form_start,
            n_centres=n_centres,
            output=None if self.makes_counts else output_activation,
            norm=generator_norm,
            dropout=dropout,
        )
        self.critic = Critic(
            n_input,
            n_condition,
            hidden=critic_hidden,
            head=critic_head,
            n_components=critic_components,
            n_codes=0 if information is None else n_latent,
            norm=critic_norm,
        )
        # What batch and covariates add to log-normalised expression, by linear regression beside the latent.
        self.register_buffer("covariate_weight", torch.zeros(n_input, self.inputs.n_columns))
        self.averaged_generator = None
        if average_decay is not None:
            self.averaged_generator = AveragedModel(
                self.generator, multi_avg_fn=get_ema_multi_avg_fn(average_decay), use_buffers=True
            ).requires_grad_(False)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor | None]:
        return {
            "mean": tensors.get(LATENT_MEAN_TENSOR),
            "var": tensors.get(LATENT_VAR_TENSOR),
            "covariates": self.inputs.covariates(tensors),
        }

    def _get_generative_input(
        self, tensors: dict[str, torch.Tensor], inference_outputs: dict, **kwargs
    ) -> dict[str, torch.Tensor | None]:
        return {
            "condition": inference_outputs["condition"],
            "total": self.inputs.totals(tensors) if self.makes_counts else None,
            "size_factor": tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY),
        }

    def augment(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The same cells with a random share of their counts, as they are where no counts are made.

        Thinned Poisson counts are Poisson counts of the thinned rate: a generator of cells of any total is right of thinned
        cells exactly where it is right of whole ones (Karras et al. 2020, "Training generative adversarial networks with
        limited data", for the principle).
        """
        if not self.makes_counts or self.thinning == 1:
            return tensors
        x = tensors[REGISTRY_KEYS.X_KEY]
        share = x.new_empty(len(x), 1).uniform_(self.thinning, 1)
        thinned = {
            key: _thinned(tensors[key], share)
            for key in (REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.PROTEIN_EXP_KEY)
            if key in tensors
        }
        if REGISTRY_KEYS.SIZE_FACTOR_KEY in tensors:
            thinned[REGISTRY_KEYS.SIZE_FACTOR_KEY] = tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] * share
        return tensors | thinned

    @auto_move_data
    def inference(
        self, mean: torch.Tensor | None, var: torch.Tensor | None, covariates: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        """Latent of each real cell, and the condition of the cell that is generated beside it.

        The latent is the mean, or a fresh sample where a variance is given; ``None`` where none is stored.
        """
        z = mean if var is None else mean + var.sqrt() * torch.randn_like(mean)
        from_latent = z if self.latent == "stored" else covariates.new_empty(len(covariates), self.n_latent).normal_()
        return {"z": z, "condition": torch.cat([from_latent, covariates], dim=1)}

    @auto_move_data
    def generative(
        self,
        condition: torch.Tensor,
        total: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Generated expression ``x`` of shape ``(n_cells, n_genes)``, from fresh noise unless it is given.

        With counts, ``total`` is what the rates of each modality are scaled to, and ``size_factor`` what the counts of genes
        are normalised by; ``None`` is their own sum, which is what those of proteins are normalised by.
        """
        if noise is None:
            noise = condition.new_empty(len(condition), self.n_noise).normal_()
        output = self._output(self.generator, condition, noise)
        if not self.makes_counts:
            return {"x": output}
        target_sum = self.inputs.target_sum
        parts = zip(self.inputs.split(output), total.split(1, dim=1), (size_factor, None), strict=False)
        x = [poisson_log_normalized(rate * (t / target_sum), by, target_sum=target_sum) for rate, t, by in parts]
        return {"x": torch.cat(x, dim=1)}

    def _output(self, generator: torch.nn.Module, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Expression, or rates of counts of a cell of the target sum; no gene can have more than all of it.

        Where a total is a sum, rates add up to it: in what is scaled to its sum no critic sees others. Of proteins it always is.
        """
        output = generator(condition, noise)
        if not self.makes_counts:
            return output
        # Unlike clamp_max, this makes NaN of infinity: broken weights must not look like a gene at its limit.
        rates = torch.exp(output - (output - math.log(self.inputs.target_sum)).relu())
        rna, *proteins = self.inputs.split(rates)
        parts = [self._summed(rna) if self.sums_to_total else rna, *map(self._summed, proteins)]
        return torch.cat(parts, dim=1)

    def _summed(self, rates: torch.Tensor) -> torch.Tensor:
        return rates * (self.inputs.target_sum / rates.sum(1, keepdim=True))

    def loss(
        self,
        tensors: dict[str, torch.Tensor],
        inference_outputs: dict,
        generative_outputs: dict,
        player: Literal["critic", "generator"] = "generator",
    ) -> LossOutput:
        """Loss of one player, with its parts in ``extra_metrics``."""
        condition, fake = inference_outputs["condition"], generative_outputs["x"]
        real = self.inputs.expression(tensors)
        if player == "generator":
            loss = self._generator_loss(real, fake, condition)
            if self.information is not None:
                loss = loss + self.information_weight * self._code_errors(real, fake, inference_outputs)["code_error"]
            return LossOutput(loss=loss, n_obs_minibatch=len(fake), extra_metrics={"generator_loss": loss})
        fake = fake.detach()
        score_real, score_fake, penalty = self._scores_and_penalty(real, fake, condition)
        loss = _CRITIC_LOSSES[self.loss_name](score_real, score_fake) + self.penalty_weight * penalty
        parts = {"gradient_penalty": penalty, "score_gap": (score_real - score_fake).mean()}
        if self.information is not None:
            errors = self._code_errors(real, fake, inference_outputs)
            loss = loss + self.information_weight * sum(errors.values())
            parts |= errors
        return LossOutput(loss=loss, n_obs_minibatch=len(real), extra_metrics={"critic_loss": loss, **parts})

    def _code_errors(self, real: torch.Tensor, fake: torch.Tensor, inference_outputs: dict) -> dict[str, torch.Tensor]:
        """Errors of the codes of generated cells and, where real ones are to be inferred, too, of theirs."""
        condition = inference_outputs["condition"]
        of_real, of_fake = self.critic.codes(torch.stack([real, fake]), condition)
        errors = {"code_error": losses.code_error(of_fake, condition[:, : self.n_latent])}
        if self.information == "both":
            errors["code_error_real"] = losses.code_error(of_real, inference_outputs["z"])
        return errors

    def _generator_loss(self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        score_real = None
        if self.has_batch_norm:  # which needs the real cells
            score_real, score_fake = self.critic(torch.stack([real, fake]), condition)
        else:
            score_fake = self.critic(fake, condition)
        if self.loss_name == "wgan-gp":
            return losses.wasserstein_generator_loss(score_fake)
        if score_real is None:
            with torch.no_grad():
                score_real = self.critic(real, condition)
        return losses.relativistic_generator_loss(score_real, score_fake)

    def _scores_and_penalty(
        self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if self.loss_name == "wgan-gp":
            mixing = torch.rand_like(real[:, :1])
            score_real, score_fake, slopes = self.critic.scores_and_slopes(real, fake, condition, mixing=mixing)
            return score_real, score_fake, losses.unit_slope_penalty(slopes[0])
        n_sloped = math.ceil(len(real) / _CELLS_PER_SLOPE)
        score_real, score_fake, slopes = self.critic.scores_and_slopes(real, fake, condition, n_sloped=n_sloped)
        return score_real, score_fake, losses.zero_slope_penalty(slopes[0]) + losses.zero_slope_penalty(slopes[1])

    @torch.no_grad()
    def set_expression_scale(self, deviation: torch.Tensor) -> None:
        """Bring the genes that the critic sees to comparable scales.

        The critic's view of a gene is divided by the root of its standard deviation: half way between expression as it
        is, where few genes count, and unit variances, where noise does.

        Parameters
        ----------
        deviation
            Standard deviations, shape ``(n_genes,)``.
        """
        floored = deviation.clamp_min(_LEAST_DEVIATION)
        self.critic.input_scale.copy_(floored.rsqrt() / (deviation.square() / floored).mean().sqrt())

    @torch.no_grad()
    def set_unit(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Have all parts of both networks, those of :meth:`start` too, see the condition without its unit.

        Parameters
        ----------
        mean, deviation
            What is taken off the columns of the condition, and what they are divided by, shape ``(n_condition,)``.
        """
        for network in (self.critic, self.generator):
            network.condition_mean.copy_(mean)
            network.condition_scale.copy_(1 / deviation)
        self._restart_average()

    @torch.no_grad()
    def set_components(self, components: torch.Tensor) -> None:
        """Set what the critic sees beside the genes: weights of scaled genes, shape ``(n_genes, n_components)``."""
        self.critic.components[:, : components.shape[1]].copy_(components)

    @torch.no_grad()
    def start(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        loadings: torch.Tensor,
        *,
        kernel: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Set the parts of the generator and of its average that a closed form gives.

        Parameters
        ----------
        weight, bias, loadings
            See :meth:`ClosedFormGenerator.start`.
        kernel
            Scale, centres and bandwidth of the :class:`KernelBasis`.
        """
        if kernel is not None:
            self.generator.basis.set(*kernel)
        self.generator.start(weight, bias, loadings)
        self._restart_average()

    def _restart_average(self) -> None:
        if self.averaged_generator is not None:
            self.averaged_generator.module.load_state_dict(self.generator.state_dict())

    def update_average(self) -> None:
        """Take one step of the moving average of the generator's weights."""
        if self.averaged_generator is not None:
            self.averaged_generator.update_parameters(self.generator)

    @auto_move_data
    @torch.inference_mode()
    def sample(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Output of the averaged generator (of the generator itself where there is no average).

        Log-normalised expression, or expected counts of cells whose total is the target sum.
        """
        generator = self.generator if self.averaged_generator is None else self.averaged_generator.module
        return self._output(generator, condition, noise)

    @auto_move_data
    @torch.inference_mode()
    def infer_codes(self, x: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """Latents of cells as the critic's body infers them, shape ``(n_cells, n_latent)``."""
        condition = torch.cat([covariates.new_zeros(len(x), self.n_latent), covariates], dim=1)
        return self.critic.codes(x, condition)


def _thinned(counts: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    there = counts.nonzero(as_tuple=True)
    x = torch.zeros_like(counts)
    x[there] = torch.binomial(counts[there], share[there[0], 0])
    return x
