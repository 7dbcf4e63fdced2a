"""Module of the GANs: generator, critic and averaged generator."""

import math
from typing import Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scmichigan._keys import LATENT_MEAN_TENSOR, LATENT_VAR_TENSOR
from scmichigan.losses import ADVERSARIAL_LOSSES, code_error
from scmichigan.nn import ClosedFormGenerator, Critic, poisson_log_normalized

from ._expression import CellFormat, ExpressionInputs
from ._settings import GANSettings

_COUNTS = (REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.PROTEIN_EXP_KEY)
_LEAST_DEVIATION = 0.05


class MichiGANModule(BaseModuleClass):
    """Generator and critic of all GANs.

    The condition of a cell is its latent beside the columns of its batch and covariates.

    Parameters
    ----------
    n_input, n_latent
        Genes and proteins; latent dimensions.
    settings
        Networks and losses.
    cells
        What is registered of each cell. Without registered totals, rates add up to the total; with them, the genes'
        fraction of it is learned.

    References
    ----------
    Yu and Welch 2021, Algorithm 1 and Methods; Gulrajani et al. 2017; Miyato and Koyama 2018; Chen et al. 2016, "InfoGAN",
    equation 5; Huang et al. 2024.
    """

    def __init__(self, n_input: int, n_latent: int, *, settings: GANSettings, cells: CellFormat) -> None:
        super().__init__()
        self.settings = settings
        self.n_latent = n_latent
        self.n_noise = settings.n_noise
        self.makes_counts = settings.makes_counts
        self.scale_inputs = settings.scale_inputs
        self.adversarial = ADVERSARIAL_LOSSES[settings.loss]
        own_weight = settings.penalty_weight
        self.penalty_weight = self.adversarial.penalty_weight if own_weight is None else own_weight
        self.sums_to_total = not cells.has_totals
        self.inputs = ExpressionInputs(cells)
        n_condition = n_latent + self.inputs.n_columns
        self.generator = ClosedFormGenerator(
            n_condition,
            n_input,
            n_noise=settings.n_noise,
            hidden=settings.generator_hidden,
            linear_parts=settings.closed_form_start,
            n_centres=settings.n_centres,
            output=None if self.makes_counts else settings.output_activation,
            norm=settings.generator_norm,
            dropout=settings.dropout,
        )
        self.critic = Critic(
            n_input,
            n_condition,
            hidden=settings.critic_hidden,
            head=settings.critic_head,
            n_components=settings.critic_components,
            n_codes=0 if settings.information is None else n_latent,
            norm=settings.critic_norm,
        )
        # What batch and covariates add to log-normalised expression, by linear regression beside the latent.
        self.register_buffer("covariate_weight", torch.zeros(n_input, self.inputs.n_columns))
        self.averaged_generator = None
        if settings.average_decay is not None:
            average = get_ema_multi_avg_fn(settings.average_decay)
            averaged = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
            self.averaged_generator = averaged.requires_grad_(False)

    def _get_inference_input(self, tensors: dict[str, torch.Tensor], **kwargs) -> dict[str, torch.Tensor | None]:
        mean, var = tensors.get(LATENT_MEAN_TENSOR), tensors.get(LATENT_VAR_TENSOR)
        return {"mean": mean, "var": var, "covariates": self.inputs.covariates(tensors)}

    def _get_generative_input(self, tensors: dict, inference_outputs: dict, **kwargs) -> dict[str, torch.Tensor | None]:
        return {
            "condition": inference_outputs["condition"],
            "total": self.inputs.totals(tensors) if self.makes_counts else None,
            "size_factor": tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY),
        }

    def augment(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The same cells with a random fraction of their counts; unchanged where no counts are made.

        Thinned Poisson counts are Poisson counts of the thinned rate. So a generator that gets thinned cells right gets whole
        cells right, and the other way round (Karras et al. 2020, "Training generative adversarial networks with limited
        data", for the principle).
        """
        if not self.makes_counts or self.settings.thinning == 1:
            return tensors
        x = tensors[REGISTRY_KEYS.X_KEY]
        fraction = x.new_empty(len(x), 1).uniform_(self.settings.thinning, 1)
        thinned = {key: _thinned(tensors[key], fraction) for key in _COUNTS if key in tensors}
        if REGISTRY_KEYS.SIZE_FACTOR_KEY in tensors:
            thinned[REGISTRY_KEYS.SIZE_FACTOR_KEY] = tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] * fraction
        return tensors | thinned

    @auto_move_data
    def inference(
        self, mean: torch.Tensor | None, var: torch.Tensor | None, covariates: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        """Latent ``z`` of each real cell, and the ``condition`` of the cell that is generated beside it.

        The latent is the mean, or a new sample where a variance is given; ``None`` where none is stored.
        """
        z = mean if var is None else mean + var.sqrt() * torch.randn_like(mean)
        is_stored = self.settings.latent == "stored"
        from_latent = z if is_stored else covariates.new_empty(len(covariates), self.n_latent).normal_()
        return {"z": z, "condition": torch.cat([from_latent, covariates], dim=1)}

    @auto_move_data
    def generative(
        self,
        condition: torch.Tensor,
        total: torch.Tensor | None = None,
        size_factor: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Generated expression ``x`` of shape ``(n_cells, n_genes)``, from new noise unless it is given.

        With counts, ``total`` is what the rates of each modality are scaled to, and ``size_factor`` what the counts of genes
        are normalised by; ``None`` takes their sum, as always for proteins.
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
        """Expression, or expected counts of a cell whose total is the target sum, which no gene can exceed.

        Where totals are sums, as always for proteins, rates are scaled to add up to them: the critic sees fractions only.
        """
        output = generator(condition, noise)
        if not self.makes_counts:
            return output
        # Unlike clamp_max, this turns infinity into NaN: broken weights must not look like a gene at its limit.
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
        real, settings = self.inputs.expression(tensors), self.settings
        if player == "generator":
            loss = self.adversarial.generator(*self._scores_for_generator(real, fake, condition))
            if settings.information is not None:
                errors = self._code_errors(real, fake, inference_outputs)
                loss = loss + settings.information_weight * errors["code_error"]
            return LossOutput(loss=loss, n_obs_minibatch=len(fake), extra_metrics={"generator_loss": loss})
        score_real, score_fake, penalty = self._scores_and_penalty(real, fake.detach(), condition)
        loss = self.adversarial.critic(score_real, score_fake) + self.penalty_weight * penalty
        parts = {"gradient_penalty": penalty, "score_gap": (score_real - score_fake).mean()}
        if settings.information is not None:
            errors = self._code_errors(real, fake.detach(), inference_outputs)
            loss = loss + settings.information_weight * sum(errors.values())
            parts |= errors
        return LossOutput(loss=loss, n_obs_minibatch=len(real), extra_metrics={"critic_loss": loss, **parts})

    def _code_errors(self, real: torch.Tensor, fake: torch.Tensor, inference_outputs: dict) -> dict[str, torch.Tensor]:
        """Errors of the inferred codes of generated cells and, where they are inferred, of real cells."""
        condition = inference_outputs["condition"]
        of_real, of_fake = self.critic.codes(torch.stack([real, fake]), condition)
        errors = {"code_error": code_error(of_fake, condition[:, : self.n_latent])}
        if self.settings.information == "both":
            errors["code_error_real"] = code_error(of_real, inference_outputs["z"])
        return errors

    def _scores_for_generator(
        self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Scores of real cells, where the loss or batch norm needs them, and of generated cells."""
        if self.settings.critic_norm == "batch":
            score_real, score_fake = self.critic(torch.stack([real, fake]), condition)
            return score_real, score_fake
        score_fake = self.critic(fake, condition)
        if not self.adversarial.needs_real:
            return None, score_fake
        with torch.no_grad():
            return self.critic(real, condition), score_fake

    def _scores_and_penalty(
        self, real: torch.Tensor, fake: torch.Tensor, condition: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mixing = torch.rand_like(real[:, :1]) if self.adversarial.at_mixes else None
        n_sloped = math.ceil(len(real) / self.adversarial.cells_per_slope)
        score_real, score_fake, slopes = self.critic.scores_and_slopes(
            real, fake, condition, mixing=mixing, n_sloped=n_sloped
        )
        return score_real, score_fake, sum(map(self.adversarial.penalty, slopes))

    @torch.no_grad()
    def set_expression_scale(self, deviation: torch.Tensor) -> None:
        """Bring the genes that the critic sees to comparable scales, given their standard deviations ``(n_genes,)``.

        A gene is divided by the root of its standard deviation. That is between unscaled expression, where few genes
        dominate, and unit variances, where noise does.
        """
        floored = deviation.clamp_min(_LEAST_DEVIATION)
        self.critic.input_scale.copy_(floored.rsqrt() / (deviation.square() / floored).mean().sqrt())

    @torch.no_grad()
    def set_unit(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Standardise the condition for both networks, given its means and deviations, shape ``(n_condition,)``."""
        for network in (self.critic, self.generator):
            network.condition_mean.copy_(mean)
            network.condition_scale.copy_(1 / deviation)
        self._restart_average()

    @torch.no_grad()
    def set_components(self, components: torch.Tensor) -> None:
        """Set the weights of scaled genes in the critic's components, shape ``(n_genes, n_components)``."""
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
        """Set the linear parts of the generator and of its average.

        See :meth:`ClosedFormGenerator.start`; ``kernel`` is scale, centres and bandwidth of the :class:`KernelBasis`.
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
        """Log-normalised expression, or expected counts of cells whose total is the target sum.

        From the averaged generator where there is one.
        """
        generator = self.generator if self.averaged_generator is None else self.averaged_generator.module
        return self._output(generator, condition, noise)

    @auto_move_data
    @torch.inference_mode()
    def infer_codes(self, x: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        """Latents of cells that the critic's body infers, shape ``(n_cells, n_latent)``."""
        condition = torch.cat([covariates.new_zeros(len(x), self.n_latent), covariates], dim=1)
        return self.critic.codes(x, condition)


def _thinned(counts: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
    there = counts.nonzero(as_tuple=True)
    x = torch.zeros_like(counts)
    x[there] = torch.binomial(counts[there], fraction[there[0], 0])
    return x
