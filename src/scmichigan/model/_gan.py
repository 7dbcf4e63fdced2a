"""What all GANs do alike: their networks, how these are trained, and the cells they make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from anndata import AnnData
from mudata import MuData
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from scmichigan._arrays import dense
from scmichigan.module import MichiGANModule
from scmichigan.train import MINIBATCHES_AT_ONCE, AdversarialTrainingPlan, CellDataModule

from ._common import (
    ExpressionMixin,
    cell_format,
    check_epochs,
    check_latent,
    check_plan_arguments,
    check_trained,
    check_trainer_arguments,
    covariate_columns,
    describe_expression,
    draw_posterior,
    draw_rows,
    in_chunks,
    n_features,
    normalized_expression,
    own_arguments,
    registered_arrays,
    run_training,
    standardise_numbers,
)
from ._presets import SCHEDULES, Row, module_settings
from ._saved import SavedMixin

_N_CELLS_OF_COMPONENTS = 5000
_COMPONENT_DEVIATION = 4.0
_LEAST_DEVIATION = 1e-3


class GANBase(ExpressionMixin, SavedMixin, BaseModelClass):
    """A generator and a critic on registered cells; a base only."""

    row: ClassVar[Row]
    latent_sampling = "sample"

    def _build(self, n_latent: int, preset: str, module_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Make the module; give its settings, with which it can be built again for other cells."""
        cells = cell_format(self)
        settings = module_settings(
            self.row,
            preset,
            module_kwargs,
            of_model=own_arguments(type(self)),
            counts=cells.counts,
            n_cells=self.summary_stats.n_cells,
        )
        self.n_latent = n_latent
        self.preset = preset
        self.module = MichiGANModule(n_features(self), n_latent, settings=settings, cells=cells)
        standardise_numbers(self)
        return self.row.chosen(settings)

    def _describe(self, latent: str) -> str:
        """What ``repr`` prints, given where the latent is from."""
        makes = "counts" if self.module.makes_counts else "log-normalised expression"
        return f"{type(self).__name__} with n_latent: {self.n_latent} {latent}, on {describe_expression(self)}, makes {makes}"

    def _cells_to_train_on(self, batch_size: int | None) -> CellDataModule:
        batch_size = SCHEDULES[self.preset].batch_size if batch_size is None else batch_size
        return CellDataModule(
            registered_arrays(self.adata_manager), batch_size=batch_size, n_at_once=MINIBATCHES_AT_ONCE
        )

    def _plan(self, plan_kwargs: dict[str, Any] | None) -> AdversarialTrainingPlan:
        known = [name for name in inspect.signature(AdversarialTrainingPlan).parameters if name != "module"]
        given = check_plan_arguments(plan_kwargs, known)
        return AdversarialTrainingPlan(self.module, **(SCHEDULES[self.preset].plan_kwargs | given))

    def _check_trainer_arguments(self, given: dict[str, Any], elsewhere: dict[str, Callable[..., None]]) -> None:
        """Refuse what no trainer takes, or none of two networks that take turns."""
        check_trainer_arguments(self, given, elsewhere={"plan_kwargs": AdversarialTrainingPlan} | elsewhere)
        for name, nothing in {"gradient_clip_val": (None, 0), "accumulate_grad_batches": (None, 1)}.items():
            if given.get(name) not in nothing:
                cure = (
                    f"; for the beta-TCVAE, give it in latent_kwargs={{{name!r}: {given[name]!r}}}" if elsewhere else ""
                )
                raise ValueError(
                    f"{name} is {given[name]!r}, but the generator and the critic take their own steps{cure}"
                )
        monitor = given.get("early_stopping_monitor") or "elbo_validation"
        if given.get("early_stopping") and "validation" in monitor:
            raise ValueError(
                f"early_stopping would look at {monitor!r}, and a GAN has no cells for validation: give early_stopping_monitor, "
                "such as 'generator_loss', or stop by hand, as its losses need not fall while the cells get better"
            )

    def _epochs(self, max_epochs: int | None, data: CellDataModule) -> int:
        if max_epochs == 0 and self.module.generator.decoder is not None:
            return 0
        return check_epochs(max_epochs) or SCHEDULES[self.preset].epochs(data.n_train, data.batch_size)

    def _train_gan(
        self, data: CellDataModule, plan: AdversarialTrainingPlan, max_epochs: int, *, stage: str, **train_kwargs
    ) -> None:
        if max_epochs == 0:
            self.module.eval()
            self.is_trained = True
            return
        was_trained = self.is_trained
        # scvi-tools adds to the history of a trained model; the closed form alone has none, nor an interrupted first epoch.
        self.is_trained = bool(self.history)
        try:
            run_training(
                self,
                plan,
                data,
                max_epochs=max_epochs,
                stage=stage,
                advice="try smaller learning rates (plan_kwargs={'lr_generator': 1e-4, 'lr_critic': 1e-4}), and look for "
                "extreme values in expression and latent",
                **train_kwargs,
            )
        except BaseException:
            self.is_trained |= was_trained
            raise

    def _expression_deviation(self) -> torch.Tensor:
        """Standard deviation of each gene's log-normalised expression."""
        x = normalized_expression(self.adata_manager, self.module.inputs)
        return torch.from_numpy(np.sqrt(StandardScaler(with_mean=False).fit(x).var_)).float()

    def _components(self, scale: torch.Tensor, n_components: int) -> torch.Tensor:
        """Weights of scaled genes in their principal components, shape ``(n_genes, n_components)``, fewer for few cells."""
        rows = np.sort(np.random.default_rng(0).permutation(self.adata.n_obs)[:_N_CELLS_OF_COMPONENTS])
        x = dense(normalized_expression(self.adata_manager, self.module.inputs, rows)) * scale.numpy(force=True)
        pca = PCA(min(n_components, *x.shape), random_state=0).fit(x)
        deviation = np.sqrt(pca.explained_variance_)
        is_there = deviation > _LEAST_DEVIATION * deviation[0]
        weights = pca.components_[is_there].T * (_COMPONENT_DEVIATION / deviation[is_there])
        return torch.from_numpy(weights)

    def generate(
        self,
        n_samples: int = 1000,
        *,
        where: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        size_factor: float | np.ndarray | None = None,
        seed: int = 0,
    ) -> AnnData | MuData:
        """Sample cells.

        Parameters
        ----------
        n_samples
            Cells to generate, from latents (and covariates) drawn from the registered cells; by models whose latents
            have a prior, from that. Not used with ``latent``.
        where
            Labels of the registered cells whose latents are drawn, for example ``{"cell_type": "B cells"}``; ``{}`` takes
            all cells.
        latent
            Generate one cell from each of these latents instead, shape ``(n_samples, n_latent)``; covariates are then
            drawn from the registered cells.
        size_factor
            Expected total counts of each cell, one for all or one each; by default the totals of the source cells. With
            proteins it is that of the RNA, and shape ``(n_samples, 2)`` gives that of the proteins, too. Only of models that
            make counts.
        seed
            Of all draws.

        Returns
        -------
        AnnData with log-normalised expression in X, latents in ``obsm["X_michigan"]``, labels and names of the source
        cells in obs (of latents that are not those of cells, only the covariates that they were rendered with; of numbers,
        only those that are registered), provenance in ``uns["michigan"]``; of models that make counts, also these in
        ``layers["counts"]`` and what they are normalised by in obs, under the registered key or ``"total_counts"``.
        Registered proteins are there, too: in obsm their counts under the registered key, and log-normalised in
        ``"X_michigan_protein"``. Of a MuData comes a MuData with the registered modalities, each with X and
        ``layers["counts"]``.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        ValueError
            If ``where`` selects no cell, or is given to a model that knows no latents of cells; if ``latent`` has another
            width than the model's or is not finite, or ``size_factor`` is no total of so many cells.
        """
        check_trained(self)
        rng = np.random.default_rng(seed)
        z = None if latent is None else check_latent(latent, self.n_latent)
        rows = draw_rows(self._labelled, n_samples if z is None else len(z), where, rng)
        totals = self._given_totals(size_factor, rows)
        if z is not None:
            source = "given"
        elif self.row.latent == "prior" and where is None:
            source, z = "prior", rng.standard_normal((len(rows), self.n_latent), dtype=np.float32)
        else:
            source, z = self._latent_source(), self._draw_latent(rows, rng)
        provenance = {"model": type(self).__name__, "latent": source, "seed": seed}
        output = self._render(z, rows, self._draw_noise(len(z), rng))
        counts = rng.poisson(self._expected(output, totals)) if self.module.makes_counts else None
        cells = self._cells(
            output if counts is None else counts,
            totals,
            rows=None if source in ("given", "prior") else rows,
            latent=z,
            provenance=provenance,
        )
        if source in ("given", "prior"):
            cells = self._with_covariates(cells, rows)
        return self._as_registered(cells)

    def _latent_source(self) -> str:
        """Where the latents of registered cells come from, for the provenance; a ``ValueError`` where there are none."""
        raise ValueError(f"{type(self).__name__} knows no latents of cells; leave where out")

    def _posterior(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Means and, where cells are to be sampled, variances of the registered cells' latents."""
        # The beta-TCVAE draws a sample even where its posterior is all that is asked for.
        with torch.random.fork_rng():
            mean, var = self.get_latent_representation(return_dist=True)
        return mean, var if self.latent_sampling == "sample" else None

    def _given_totals(self, size_factor: float | np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        """Totals of the cells to make, by default those of their source cells."""
        if not self.module.makes_counts:
            if size_factor is not None:
                raise ValueError("size_factor is for models that make counts; this one makes log-normalised expression")
            return None
        if size_factor is None:
            return self._totals()[rows]
        given, totals = np.asarray(size_factor, dtype=np.float64), self._totals()[rows]
        of_both = given.shape == totals.shape and given.ndim == 2 and totals.shape[1] == 2
        if not (given.shape in ((), (len(rows),)) or of_both) or not (np.isfinite(given).all() and (given > 0).all()):
            raise ValueError(
                f"size_factor has shape {given.shape} and minimum {given.min(initial=np.inf):g}; give one positive "
                f"total, or one for each of the {len(rows)} cells"
            )
        if of_both:
            return given
        totals[:, 0] = given
        return totals

    def _expected(self, rates: np.ndarray, totals: np.ndarray) -> np.ndarray:
        return rates * self._by_feature(totals / self.module.inputs.target_sum)

    def _draw_latent(
        self,
        rows: np.ndarray,
        rng: np.random.Generator,
        posterior: tuple[np.ndarray, np.ndarray | None] | None = None,
    ) -> np.ndarray:
        """Latents of registered cells; of so many draws that the posterior is better inferred once, it can be given."""
        mean, var = posterior or self._posterior()
        z = mean[rows]
        return z if var is None else draw_posterior(z, var[rows], rng)

    def _draw_noise(self, n_samples: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((n_samples, self.module.n_noise), dtype=np.float32))

    def _render(
        self,
        z: np.ndarray,
        rows: np.ndarray,
        noise: torch.Tensor,
        *,
        manager: AnnDataManager | None = None,
    ) -> np.ndarray:
        """Output of the generator for latents, the covariates of the given registered cells, and noise."""
        covariates = covariate_columns(manager or self.adata_manager, self.module.inputs, rows)
        condition = torch.cat([torch.from_numpy(z), covariates], dim=1)
        return torch.cat([self.module.sample(condition[c], noise[c]) for c in in_chunks(len(z))]).cpu().numpy()
