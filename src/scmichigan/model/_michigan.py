"""Cells from a latent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from sklearn.preprocessing import StandardScaler

from scmichigan import _keys
from scmichigan._compat import finish_init, manager_of
from scmichigan.latent import fit_linear_gaussian, fit_poisson_log_normal
from scmichigan.module import MichiGANModule
from scmichigan.train import AdversarialTrainingPlan, CellDataModule

from ._arithmetic import (
    Arithmetic,
    Labels,
    choose_key,
    find_references,
    involved_combinations,
    observed_combinations,
    select_references,
)
from ._beta_tcvae import BetaTCVAE, check_latent_arguments
from ._common import (
    ExpressionMixin,
    check_epochs,
    check_labels,
    check_latent,
    check_level,
    check_n_samples,
    check_trained,
    covariate_columns,
    covariate_sizes,
    describe_expression,
    draw_posterior,
    draw_rows,
    generated_anndata,
    in_chunks,
    normalized_expression,
    registered_arrays,
    run_training,
)
from ._fields import register_cells
from ._presets import SCHEDULES, check_choice, module_settings
from ._transfer import draw_evenly, in_proportion, pair_by_depth, rectify_keeping_means, round_on_log_scale, take_nearer

_LATENT_MODEL_DIR = "latent_model"
_FEW_CELLS = 10


class MichiGAN(ExpressionMixin, BaseModelClass):
    """Conditional GAN that turns a latent into realistic cells.

    The latent is a stored one (``setup_anndata(latent_key=...)``), or that of a beta-TCVAE which :meth:`train` fits
    first.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent, beta
        Of the beta-TCVAE; a stored latent has its own width, and no beta.
    latent_sampling
        ``"sample"`` draws each cell's latent anew from its posterior whenever it is visited, ``"mean"`` takes the
        posterior mean. A stored latent without variance has only means.
    preset
        ``"default"``, or ``"paper"`` for networks, losses and training exactly as published.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.MichiGANModule` that differ from the preset. ``observation`` is
        ``"poisson"`` by default where raw counts are registered: the generator makes counts.

    Raises
    ------
    ValueError
        If ``n_latent`` is below 1, ``beta`` negative or not finite, or another argument unknown or not one of its
        choices.

    Notes
    -----
    Before the first step the generator is set to the best one that can be had in closed form:
    :func:`~scmichigan.latent.fit_poisson_log_normal` for counts, :func:`~scmichigan.latent.fit_linear_gaussian` for
    log-normalised expression. ``history`` holds, per epoch, ``critic_loss``, ``generator_loss``, ``gradient_penalty``
    and ``score_gap``, the critic's mean score of real minus that of generated cells.

    References
    ----------
    Yu and Welch 2021, "MichiGAN: sampling from disentangled representations of single-cell data using generative
    adversarial networks", Algorithm 1.

    Examples
    --------
    >>> mg.MichiGAN.setup_anndata(adata, labels_key="cell_type", size_factor_key="total_counts")
    >>> model = mg.MichiGAN(adata, beta=10.0)
    >>> model.train()
    >>> cells = model.generate(n_samples=1000, seed=0)
    """

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        preset: Literal["default", "paper"] = "default",
        **module_kwargs,
    ) -> None:
        check_latent_arguments(n_latent, beta)
        super().__init__(adata)
        args = self.registry["setup_args"]
        counts = args["expression"] == "counts"
        module_kwargs = module_settings(preset, module_kwargs, counts=counts, n_cells=self.summary_stats.n_cells)
        check_choice("latent_sampling", latent_sampling, ("sample", "mean"))
        self.n_latent = n_latent if args["latent_key"] is None else adata.obsm[args["latent_key"]].shape[1]
        self.beta = beta
        self.latent_sampling = latent_sampling
        self.preset = preset
        self.latent_model: BetaTCVAE | None = None
        self.module = MichiGANModule(
            self.summary_stats.n_vars,
            self.n_latent,
            counts=counts,
            target_sum=args["target_sum"],
            **covariate_sizes(self),
            **module_kwargs,
        )
        source = f"beta-TCVAE (beta: {beta})" if args["latent_key"] is None else f"obsm[{args['latent_key']!r}]"
        finish_init(
            self, locals(), f"MichiGAN with n_latent: {self.n_latent} from {source}, on {describe_expression(self)}"
        )

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        latent_key: str | None = None,
        latent_var_key: str | None = None,
        expression: Literal["auto", "counts", "log_normalized"] = "auto",
        target_sum: float = 1e4,
        **kwargs,
    ) -> None:
        """Register the cells, and the latent where one is stored.

        Parameters
        ----------
        adata
            Cells x genes.
        layer, batch_key, labels_key, size_factor_key, categorical_covariate_keys, continuous_covariate_keys
            As in :meth:`BetaTCVAE.setup_anndata`; batch and covariates condition generator and critic, too.
        latent_key
            Key of ``adata.obsm`` with the latent to generate from; ``None`` fits a beta-TCVAE first.
        latent_var_key
            Key of ``adata.obsm`` with its posterior variances; ``None`` where there are none.
        expression, target_sum
            As in :meth:`BetaTCVAE.setup_anndata`.
        **kwargs
            Passed to scvi-tools' registration.

        Raises
        ------
        KeyError
            If a column, layer or obsm key does not exist.
        ValueError
            As in :meth:`BetaTCVAE.setup_anndata`, and if the latent is misshapen, not finite or constant, or its
            variances are negative, of another shape or without means.
        """
        register_cells(locals())

    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int | None = None,
        latent_kwargs: dict[str, Any] | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        plan_kwargs: dict[str, Any] | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train the generator; without a stored latent, fit the beta-TCVAE first.

        Writes the latent of a beta-TCVAE to ``obsm["X_michigan"]`` (posterior means) and ``obsm["X_michigan_var"]``,
        with its provenance in ``uns["X_michigan"]``. Train again to continue with the generator.

        Parameters
        ----------
        max_epochs
            Passes of the generator's training through the cells; by default as many as take about 3,000 critic steps
            (1,000 epochs with the paper's preset). 0 leaves the generator as the closed form has it.
        batch_size
            Cells in a minibatch, in both stages; by default 128 (32 with the paper's preset).
        latent_kwargs
            Arguments of :meth:`BetaTCVAE.train` for the first stage.
        accelerator, devices
            As in scvi-tools, for both stages.
        plan_kwargs
            Arguments of :class:`~scmichigan.train.AdversarialTrainingPlan`.
        **trainer_kwargs
            Passed to :class:`scvi.train.Trainer` in both stages.

        Raises
        ------
        ValueError
            If there are fewer cells than a minibatch, or ``max_epochs`` is negative, or 0 where no closed form starts
            the generator.
        FloatingPointError
            If a loss becomes NaN or infinite; the message has the epoch.
        """
        if latent_kwargs and self._stored_latent_key is not None:
            raise ValueError(
                f"latent_kwargs are for fitting a latent, but obsm[{self._stored_latent_key!r}] is registered as one; "
                "leave them out"
            )
        schedule = SCHEDULES[self.preset]
        batch_size = schedule.batch_size if batch_size is None else batch_size
        data = CellDataModule(registered_arrays(self.adata_manager), batch_size=batch_size)
        if max_epochs != 0 or self.module.generator.decoder is None:
            max_epochs = check_epochs(max_epochs) or schedule.epochs(data.n_train, batch_size)
        devices_kwargs = {"accelerator": accelerator, "devices": devices}
        heading = "conditional GAN"
        if self._stored_latent_key is None:
            heading = f"stage 2 of 2: {heading}"
            if self.latent_model is None:
                shared_kwargs = {"batch_size": batch_size, **devices_kwargs, **trainer_kwargs}
                self._fit_latent_model(shared_kwargs | (latent_kwargs or {}))
        mean, var = self._posterior()
        data.add(_keys.LATENT_MEAN_TENSOR, mean)
        if var is not None:
            data.add(_keys.LATENT_VAR_TENSOR, var)
        if not self.is_trained:
            self._start(mean, var)
        if max_epochs == 0:
            self.module.eval()
            self.is_trained = True
            return
        # scvi-tools adds to the history of a trained model; the closed form alone has none.
        self.is_trained = self.history is not None
        run_training(
            self,
            AdversarialTrainingPlan(self.module, **(schedule.plan_kwargs | (plan_kwargs or {}))),
            data,
            max_epochs=max_epochs,
            stage=heading,
            advice="try smaller learning rates (plan_kwargs={'lr_generator': 1e-4, 'lr_critic': 1e-4}), and look for "
            "extreme values in expression and latent",
            trainer_kwargs=trainer_kwargs,
            **devices_kwargs,
        )

    @property
    def _stored_latent_key(self) -> str | None:
        return self.registry["setup_args"]["latent_key"]

    def _fit_latent_model(self, train_kwargs: dict[str, Any]) -> None:
        args = {k: v for k, v in self.registry["setup_args"].items() if not k.startswith("latent")}
        BetaTCVAE.setup_anndata(self.adata, **args)
        latent_model = BetaTCVAE(self.adata, n_latent=self.n_latent, beta=self.beta)
        latent_model.train(**{"train_size": 1.0, "stage": "stage 1 of 2: beta-TCVAE", **train_kwargs})
        self.latent_model = latent_model
        mean, var = latent_model.get_latent_representation(return_dist=True)
        self.adata.obsm[_keys.LATENT], self.adata.obsm[_keys.LATENT_VAR] = mean, var
        self.adata.uns[_keys.LATENT] = {"model": "BetaTCVAE", "beta": self.beta, "variance": _keys.LATENT_VAR}

    def _start(self, mean: np.ndarray, var: np.ndarray | None) -> None:
        """Scale what the networks see, and set what a closed form can give."""
        module = self.module
        columns = covariate_columns(self.adata_manager, module.inputs, np.arange(len(mean))).numpy()
        condition = np.concatenate([mean, columns], axis=1)
        condition_var = None if var is None else np.concatenate([var, np.zeros_like(columns)], axis=1)
        if module.scale_inputs:
            variances = condition.var(axis=0) + (0 if var is None else condition_var.mean(axis=0))
            module.set_scales(self._expression_deviation(), torch.from_numpy(np.sqrt(variances)))
        settings = {"condition_var": condition_var, "n_noise": module.n_noise}
        if not module.makes_counts or columns.size:
            x = normalized_expression(self.adata_manager, module.inputs)
            linear = tuple(map(torch.from_numpy, fit_linear_gaussian(x, condition, **settings)))
            module.covariate_weight.copy_(linear[0][:, self.n_latent :])
        if module.generator.decoder is None:
            return
        if not module.makes_counts:
            module.start(*linear)
            return
        size = self._totals() / module.inputs.target_sum
        n_centres = len(module.generator.basis.centres)
        kernel, *parts = fit_poisson_log_normal(self._counts(), size, condition, n_centres=n_centres, **settings)
        module.start(*map(torch.from_numpy, parts), kernel=tuple(map(torch.as_tensor, kernel)))

    def _expression_deviation(self) -> torch.Tensor:
        """Standard deviation of each gene's log-normalised expression."""
        x = normalized_expression(self.adata_manager, self.module.inputs)
        return torch.from_numpy(np.sqrt(StandardScaler(with_mean=False).fit(x).var_)).float()

    def _counts(self) -> np.ndarray | sp.csr_matrix:
        x = registered_arrays(self.adata_manager, (REGISTRY_KEYS.X_KEY,))[REGISTRY_KEYS.X_KEY]
        return x.tocsr() if sp.issparse(x) else x

    def _totals(self) -> np.ndarray:
        """Total counts of each registered cell: registered, or the sum over the genes."""
        registered = registered_arrays(self.adata_manager, (REGISTRY_KEYS.SIZE_FACTOR_KEY,))
        totals = registered.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        return np.asarray(self._counts().sum(axis=1) if totals is None else totals, dtype=np.float64).ravel()

    def _posterior(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Means and, where cells are to be sampled, variances of the registered cells' latents."""
        # The beta-TCVAE draws a sample even where its posterior is all that is asked for.
        with torch.random.fork_rng():
            mean, var = self.get_latent_representation(return_dist=True)
        return mean, var if self.latent_sampling == "sample" else None

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray | None]:
        """Latents of cells: encoded by the beta-TCVAE, or read from ``obsm`` where a latent is stored.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones.
        indices
            Cells to return, all by default.
        return_dist
            Also return the posterior variances (``None`` where a stored latent has none).

        Returns
        -------
        Posterior means, shape ``(n_cells, n_latent)``, and the variances where asked for.
        """
        if self._stored_latent_key is None:
            if self.latent_model is None:
                raise RuntimeError("the beta-TCVAE of this MichiGAN is not trained yet; call train() first")
            return self.latent_model.get_latent_representation(adata, indices, return_dist=return_dist)
        arrays = registered_arrays(manager_of(self, adata), (_keys.LATENT_MEAN_TENSOR, _keys.LATENT_VAR_TENSOR))
        rows = slice(None) if indices is None else indices
        mean = np.asarray(arrays[_keys.LATENT_MEAN_TENSOR][rows], dtype=np.float32)
        if not return_dist:
            return mean
        var = arrays.get(_keys.LATENT_VAR_TENSOR)
        return mean, None if var is None else np.asarray(var[rows], dtype=np.float32)

    def generate(
        self,
        n_samples: int = 1000,
        *,
        where: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        size_factor: float | np.ndarray | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Sample cells.

        Parameters
        ----------
        n_samples
            Cells to generate from latents (and covariates) drawn from the registered cells. Not used with ``latent``.
        where
            Labels that the source cells must have, for example ``{"cell_type": "B cells"}``.
        latent
            Generate one cell from each of these latents instead, shape ``(n_samples, n_latent)``; covariates are then
            drawn from the registered cells.
        size_factor
            Expected total counts of each cell, one for all or one each; by default the totals of the source cells. Only
            of models that make counts.
        seed
            Of all draws.

        Returns
        -------
        AnnData with log-normalised expression in X, latents in ``obsm["X_michigan"]``, labels and names of the source
        cells in obs (not with ``latent``), provenance in ``uns["michigan"]``; of models that make counts, also these in
        ``layers["counts"]`` and what they are normalised by in obs, under the registered key or ``"total_counts"``.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        ValueError
            If ``where`` selects no cell, ``latent`` has another width than the model's or is not finite, or
            ``size_factor`` is no total of so many cells.
        """
        check_trained(self)
        rng = np.random.default_rng(seed)
        provenance = {"model": "MichiGAN", "latent": self._stored_latent_key or _keys.LATENT, "seed": seed}
        z = None if latent is None else check_latent(latent, self.n_latent)
        rows = draw_rows(self.adata, n_samples if z is None else len(z), where, rng)
        totals = self._given_totals(size_factor, rows)
        z = self._draw_latent(rows, rng) if z is None else z
        output = self._render(z, rows, self._draw_noise(len(z), rng))
        counts = rng.poisson(self._expected(output, totals)) if self.module.makes_counts else None
        return self._cells(
            output if counts is None else counts,
            totals,
            rows=rows if latent is None else None,
            latent=z,
            provenance=provenance,
        )

    def _given_totals(self, size_factor: float | np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        """Totals of the cells to make, by default those of their source cells."""
        if not self.module.makes_counts:
            if size_factor is not None:
                raise ValueError("size_factor is for models that make counts; this one makes log-normalised expression")
            return None
        if size_factor is None:
            return self._totals()[rows]
        totals = np.asarray(size_factor, dtype=np.float64)
        if totals.shape not in ((), (len(rows),)) or not (np.isfinite(totals).all() and (totals > 0).all()):
            raise ValueError(
                f"size_factor has shape {totals.shape} and minimum {totals.min(initial=np.inf):g}; give one positive "
                f"total, or one for each of the {len(rows)} cells"
            )
        return np.broadcast_to(totals, len(rows))

    def _expected(self, rates: np.ndarray, totals: np.ndarray) -> np.ndarray:
        return rates * (totals / self.module.inputs.target_sum)[:, None]

    def _cells(
        self,
        values: np.ndarray,
        totals: np.ndarray | None,
        *,
        rows: np.ndarray | None,
        latent: np.ndarray,
        provenance: dict[str, Any],
    ) -> AnnData:
        """AnnData of generated expression (where there are no totals) or counts."""
        if totals is None:
            return generated_anndata(self.adata, values, rows=rows, latent=latent, provenance=provenance)
        key = self.registry["setup_args"]["size_factor_key"]
        if key is None:  # normalised as the registered cells are: by the sum over the genes
            totals = np.maximum(values.sum(axis=1), 1)
        x = np.log1p(self.module.inputs.target_sum / totals[:, None] * values).astype(np.float32)
        cells = generated_anndata(self.adata, x, rows=rows, latent=latent, provenance=provenance)
        cells.layers[_keys.COUNTS] = sp.csr_matrix(values, dtype=np.float32)
        cells.obs[key or _keys.TOTAL_COUNTS] = totals
        return cells

    def predict_combination(
        self,
        target: dict[str, str],
        *,
        along: str | None = None,
        references: Sequence[str] | None = None,
        weights: Literal["similarity", "equal"] | Mapping[object, float] = "similarity",
        residual: Literal["source", "fresh"] = "source",
        n_samples: int | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Predict the cells of a combination of labels that was never seen.

        Each predicted cell starts from a cell of a reference combination, which differs from the target in one label;
        its latent is moved by the difference that this label makes in other contexts (labels of the other keys).

        Parameters
        ----------
        target
            Label of each of two or more obs keys, for example ``{"cell_type": "B cells", "condition": "stim"}``.
        along
            The key whose label is changed. With ``"cell_type"``, stimulated cells of other types become B cells (the
            paper's form); with ``"condition"``, control B cells become stimulated. By default the key that makes the
            smaller difference, so that cells are moved the least.
        references
            Labels of ``along`` to start from; all usable ones by default.
        weights
            Of contexts and references. ``"similarity"``: those of the best linear unbiased prediction, which trusts
            similar contexts more and noisy differences less, by their mean expression (see Notes). ``"equal"``: the
            cells of each reference are moved by the plain mean difference over its contexts (the paper's form). Or the
            weight of each context, by its label (a tuple of labels, for more than two keys); 0 where none is given.
        residual
            ``"source"`` makes each cell of real ones: of the source cell, and of a partner of the same depth that has the
            target's label in another context. Both are moved by what the same arithmetic gives for mean expression, and
            each gene is taken from the one that has to be moved less, so that cell-to-cell variation survives which the
            latent does not hold. Negative values are removed without moving the mean of any gene, and counts are drawn
            that keep each value on average. ``"fresh"`` is the trained generator's rendering of the moved latent (the
            paper's form).
        n_samples
            Cells to predict; by default as many as the references have. References give them in proportion to their
            weights (``"similarity"``) or to their cells.
        seed
            Of all draws.

        Returns
        -------
        AnnData with log-normalised expression in X, counts in ``layers["counts"]`` where the model makes counts (their
        size factors are those of the source cells), the target's labels, the reference and the names of the source cell
        and its partner in obs, predicted latents in ``obsm["X_michigan"]``, and in ``uns["michigan"]`` how they were
        made, with the weight of each combination in the target's mean. The predicted latent (posterior mean plus shift)
        of each cell of the references is also written to ``obsm["X_michigan_predicted"]`` of the model's adata (NaN for
        all others), with the same provenance in ``uns["X_michigan_predicted"]``.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        KeyError, ValueError
            If a key or label does not exist, a key has a single label, no reference is usable, or weights are not those of
            contexts.

        Warns
        -----
        UserWarning
            If the combination is among the registered cells: they are left out of the arithmetic, but the fits have
            seen them. If cells have no label. If a reference (or, but for ``"similarity"``, a context) has fewer than 10
            cells.

        Notes
        -----
        The best linear unbiased prediction takes the mean of a combination for a sum of what its context has, of what
        the label does in all contexts, and of what it does in this one, alike in contexts and between labels that are
        alike: with the covariance of Brownian motion over the distances of their means. Both variances come from the
        observed means, less their sampling noise, and the prediction from all of them by universal kriging. There is
        nothing to tune.

        References
        ----------
        Yu and Welch 2021, "Latent space vector arithmetic"; Henderson 1975, "Best linear unbiased estimation and
        prediction under a selection model"; Cressie 1993, "Statistics for spatial data", section 3.4.
        """
        check_trained(self)
        check_n_samples(n_samples)
        check_labels(target, "target")
        check_choice("residual", residual, ("source", "fresh"))
        if not isinstance(weights, Mapping):
            check_choice("weights", weights, ("similarity", "equal"))
        keys, labels, groups = self._combinations(target)
        arithmetic = self._arithmetic(groups, keys, labels, along=along, references=references, weights=weights)
        chosen, key = arithmetic.references, arithmetic.key
        rng = np.random.default_rng(seed)
        mean, _ = self._posterior()
        shifts = arithmetic.shifts(np.stack([mean[groups[c]].mean(axis=0) for c in arithmetic.combinations]))
        stored = np.full_like(mean, np.nan)
        for reference, shift in zip(chosen, shifts, strict=True):
            stored[reference.rows] = mean[reference.rows] + shift
        numbers = in_proportion(n_samples or sum(len(r.rows) for r in chosen), arithmetic.shares)
        rows = np.concatenate([draw_evenly(r.rows, n, rng) for r, n in zip(chosen, numbers, strict=True)])
        start = np.repeat(np.arange(len(chosen)), numbers)
        z = (self._draw_latent(rows, rng) + shifts[start]).astype(np.float32)

        names = np.array([str(r.labels[keys.index(key)]) for r in chosen], dtype=object)
        provenance = {
            "model": "MichiGAN",
            "target": {k: str(v) for k, v in target.items()},
            "along": key,
            "references": list(names),
            "n_contexts": [len(r.contexts) for r in chosen],
            "weights": "given" if isinstance(weights, Mapping) else weights,
            "combination_weights": arithmetic.table(),
            "residual": residual,
            "seed": seed,
        }
        self.adata.obsm[_keys.PREDICTED_LATENT] = stored
        self.adata.uns[_keys.PREDICTED_LATENT] = provenance
        totals = self._totals()[rows] if self.module.makes_counts else None
        partners = None
        if residual == "source":
            values, partners = self._transfer(arithmetic, groups, rows, start, rng, exact_means=n_samples is None)
            values = rectify_keeping_means(values)
            if totals is not None:
                values = round_on_log_scale(values, self.module.inputs.target_sum / totals[:, None], rng)
        else:
            values = self._render(z, rows, self._draw_noise(len(z), rng))
            if totals is not None:
                values = rng.poisson(self._expected(values, totals))
        predicted = self._cells(values, totals, rows=rows, latent=z, provenance=provenance)
        for k, label in target.items():
            predicted.obs[k] = label
        predicted.obs[_keys.REFERENCE] = names[start]
        if partners is not None:
            predicted.obs[_keys.PARTNER] = self.adata.obs_names.to_numpy()[partners]
        return predicted

    def _combinations(self, target: dict[str, str]) -> tuple[list[str], tuple, dict]:
        """Keys and labels of the target, and the rows of every other observed combination."""
        if len(target) < 2:
            raise ValueError(f"target is {target}; a combination needs the labels of two or more obs keys")
        for key, level in target.items():
            check_level(self.adata, key, level)
            if self.adata.obs[key].nunique() == 1:
                raise ValueError(f"obs[{key!r}] has {level!r} only; give keys with two or more labels each")
        keys, labels = list(target), tuple(target.values())
        groups = observed_combinations(self.adata.obs, keys)
        n_missing = self.adata.n_obs - sum(map(len, groups.values()))
        if n_missing:
            warnings.warn(
                f"{n_missing} cells have no label in one of {keys}: they are left out of the arithmetic; label them, or "
                "remove them before training",
                UserWarning,
                stacklevel=3,
            )
        seen = groups.pop(labels, ())
        if len(seen):
            warnings.warn(
                f"{len(seen)} of the model's cells have the labels {target}: they are left out of the arithmetic, but "
                "the latent and the generator were fitted with them; for an honest prediction train on the others only",
                UserWarning,
                stacklevel=3,
            )
        return keys, labels, groups

    def _arithmetic(
        self,
        groups: dict[Labels, np.ndarray],
        keys: list[str],
        target: Labels,
        *,
        along: str | None,
        references: Sequence[str] | None,
        weights: str | Mapping[object, float],
    ) -> Arithmetic:
        """What the target's mean is made of."""
        if along is not None and along not in keys:
            raise ValueError(f"along is {along!r}; it must be one of the target's keys {keys}")
        found = {key: find_references(groups, keys, target, key) for key in ([along] if along else keys)}
        involved = {c for key, usable in found.items() for c in involved_combinations(usable, keys, target, key)}
        expression = {c: self._mean_expression(groups[c]) for c in involved}
        key = along or choose_key(groups, keys, target, {c: mean_g for c, (mean_g, _) in expression.items()})
        chosen = select_references(found[key], keys, target, key, references)
        combinations = involved_combinations(chosen, keys, target, key)
        sizes = np.array([len(groups[c]) for c in combinations])
        means_mg = np.stack([expression[c][0] for c in combinations])
        # One variance for all: that of a combination with few cells is hardly known.
        variance = sum(expression[c][1] for c in combinations) / max(1, sizes.sum() - len(sizes))
        arithmetic = Arithmetic.plan(
            combinations,
            means_mg,
            variance / sizes,
            keys=keys,
            key=key,
            target=target,
            references=chosen,
            weights=weights,
        )
        # The best linear prediction knows by itself how little a mean of few cells says.
        by_itself = isinstance(weights, str) and weights == "similarity"
        used = zip(combinations, arithmetic.weights.any(axis=0), strict=True)
        judged = [r.labels for r in chosen] if by_itself else [labels for labels, counts in used if counts]
        few = [labels for labels in judged if len(groups[labels]) < _FEW_CELLS]
        if few:
            warnings.warn(
                f"fewer than {_FEW_CELLS} cells have the labels {few}: their mean is hardly known, and what starts from "
                "them repeats them; leave them out with references= or weights=, or add cells",
                UserWarning,
                stacklevel=3,
            )
        return arithmetic

    def _mean_expression(self, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Mean expression of registered cells without what covariates add, and their summed squared deviations."""
        x = normalized_expression(self.adata_manager, self.module.inputs, rows)
        mean_g = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
        squares = (x.multiply(x) if sp.issparse(x) else x**2).sum(dtype=np.float64)
        covariates = covariate_columns(self.adata_manager, self.module.inputs, rows).mean(dim=0, keepdim=True)
        return mean_g - self._covariate_effects(covariates)[0], max(0.0, float(squares - len(rows) * mean_g @ mean_g))

    def _covariate_effects(self, covariates: torch.Tensor) -> np.ndarray:
        """What covariate columns add to expression, shape ``(n_rows, n_genes)``."""
        return (covariates @ self.module.covariate_weight.cpu().T).numpy()

    def _transfer(
        self,
        arithmetic: Arithmetic,
        groups: dict[Labels, np.ndarray],
        rows: np.ndarray,
        start: np.ndarray,
        rng: np.random.Generator,
        *,
        exact_means: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expression made of source cells, which start from the given references, and of partners; rows of these."""
        inputs = self.module.inputs
        depth = self._totals() if self.module.makes_counts else self._expression_sums()

        def expression(rows: np.ndarray) -> np.ndarray:
            x = normalized_expression(self.adata_manager, inputs, rows)
            x = x.toarray() if sp.issparse(x) else x
            return x - self._covariate_effects(covariate_columns(self.adata_manager, inputs, rows))

        values, partners = np.empty((len(rows), self.adata.n_vars), dtype=np.float32), rows.copy()
        for i, (source, target_g) in enumerate(zip(arithmetic.positions, arithmetic.targets, strict=True)):
            pools, shares = arithmetic.partners(i)
            cells = rng.permutation(np.flatnonzero(start == i))
            parts = np.split(cells, np.cumsum(in_proportion(len(cells), shares))[:-1])
            for pool, part in zip(pools, parts, strict=True):
                candidates = groups[arithmetic.combinations[pool]]
                partners[part] = pair_by_depth(depth[rows[part]], candidates, depth[candidates], rng)
                values[part] = take_nearer(
                    expression(rows[part]),
                    expression(partners[part]),
                    means=(arithmetic.means[source], arithmetic.means[pool]),
                    target_g=target_g,
                )
            if exact_means:  # and not those of the drawn partners
                values[cells] += target_g - values[cells].mean(axis=0)
        values += self._covariate_effects(covariate_columns(self.adata_manager, inputs, rows))
        return values, partners

    def _expression_sums(self) -> np.ndarray:
        return np.asarray(normalized_expression(self.adata_manager, self.module.inputs).sum(axis=1)).ravel()

    def _draw_latent(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, var = self._posterior()
        z = mean[rows]
        return z if var is None else draw_posterior(z, var[rows], rng)

    def _draw_noise(self, n_samples: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((n_samples, self.module.n_noise), dtype=np.float32))

    def _render(self, z: np.ndarray, rows: np.ndarray, noise: torch.Tensor) -> np.ndarray:
        """Output of the generator for latents, the covariates of the given registered cells, and noise."""
        covariates = covariate_columns(self.adata_manager, self.module.inputs, rows)
        condition = torch.cat([torch.from_numpy(z), covariates], dim=1)
        return torch.cat([self.module.sample(condition[c], noise[c]) for c in in_chunks(len(z))]).cpu().numpy()

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model, and its beta-TCVAE beside it; arguments as in scvi-tools."""
        super().save(dir_path, *args, **kwargs)
        if self.latent_model is not None:
            kwargs = {name: value for name, value in kwargs.items() if name in ("prefix", "overwrite")}
            self.latent_model.save(os.path.join(dir_path, _LATENT_MODEL_DIR), **kwargs)

    @classmethod
    def load(cls, dir_path: str, adata: AnnData | None = None, *args, **kwargs) -> MichiGAN:
        """Load a saved model with cells of the same genes; arguments as in scvi-tools.

        Raises
        ------
        ValueError
            If ``adata`` has other genes than the model was trained on.
        """
        model = super().load(dir_path, adata, *args, **kwargs)
        latent_dir = Path(dir_path) / _LATENT_MODEL_DIR
        if latent_dir.exists():
            model.latent_model = BetaTCVAE.load(str(latent_dir), model.adata, *args, **kwargs)
        return model
