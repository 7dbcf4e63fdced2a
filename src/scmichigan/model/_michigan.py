"""Cells from a latent."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from sklearn.linear_model import RidgeCV

from scmichigan import _keys
from scmichigan._compat import finish_init, manager_of
from scmichigan.latent import fit_linear_gaussian, fit_poisson_log_normal
from scmichigan.train import LogSometimes

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
    check_labels,
    check_level,
    check_n_samples,
    check_trained,
    covariate_columns,
    describe_expression,
    in_chunks,
    normalized_expression,
    registered_arrays,
)
from ._fields import register_cells
from ._gan import GANBase
from ._latent_model import check_latent_model, class_of_saved, posterior_of
from ._obedience import correlation_k, linear_encoder
from ._presets import Row, check_choice
from ._transfer import draw_evenly, in_proportion, pair_by_depth, rectify_keeping_means, round_on_log_scale, take_nearer

_LATENT_MODEL_DIR = "latent_model"
_N_CELLS_WATCHED = 500
_N_LOOKS = 20
_FEW_CELLS = 10


class LatentGAN(GANBase):
    """A GAN whose latents are stored ones, or those of a beta-TCVAE that it fits first; a base only."""

    latent_model: BaseModelClass | None

    def _build_on_latent(
        self, n_latent: int, beta: float, latent_sampling: str, preset: str, module_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        check_latent_arguments(n_latent, beta)
        check_choice("latent_sampling", latent_sampling, ("sample", "mean"))
        stored = self._stored_latent_key
        self.beta = beta
        self.latent_sampling = latent_sampling
        self.latent_model = None
        self._linear_encoder: RidgeCV | None = None
        return self._build(n_latent if stored is None else self.adata.obsm[stored].shape[1], preset, module_kwargs)

    def _summary(self) -> str:
        stored = self._stored_latent_key
        source = f"beta-TCVAE (beta: {self.beta})" if stored is None else f"obsm[{stored!r}]"
        return f"{type(self).__name__} with n_latent: {self.n_latent} from {source}, on {describe_expression(self)}"

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

    @classmethod
    def from_latent_model(
        cls, latent_model: BaseModelClass, *, setup_kwargs: dict[str, Any] | None = None, **kwargs
    ) -> LatentGAN:
        """A model on the latent of a trained one, such as an :class:`scvi.model.SCVI`, and on its cells.

        Writes the latent of these cells to ``obsm["X_michigan"]``, its variances, where the model gives any, to
        ``obsm["X_michigan_var"]``, and where it is from to ``uns["X_michigan"]``. New cells are encoded by the trained
        model, which is saved and loaded with this one.

        Parameters
        ----------
        latent_model
            Trained model of scvi-tools or of this package, on an AnnData, with ``get_latent_representation``.
        setup_kwargs
            Arguments of :meth:`setup_anndata` that differ from those that the trained model was set up with (layer, batch,
            labels, size factor and covariates).
        **kwargs
            Arguments of the new model.

        Raises
        ------
        RuntimeError
            If the latent model is untrained.
        ValueError
            If it has no latent of cells or is on a MuData, or as in :meth:`setup_anndata`.

        Examples
        --------
        >>> scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
        >>> vae = scvi.model.SCVI(adata)
        >>> vae.train()
        >>> model = mg.MichiGAN.from_latent_model(vae)
        >>> model.train()
        """
        check_latent_model(latent_model)
        adata = latent_model.adata
        mean, var = posterior_of(latent_model)
        adata.obsm[_keys.LATENT] = mean
        keys = {"latent_key": _keys.LATENT}
        provenance = {"model": type(latent_model).__name__}
        if var is not None:
            adata.obsm[_keys.LATENT_VAR] = var
            keys["latent_var_key"] = provenance["variance"] = _keys.LATENT_VAR
        adata.uns[_keys.LATENT] = provenance
        known = inspect.signature(cls.setup_anndata).parameters
        shared = {name: value for name, value in latent_model.registry["setup_args"].items() if name in known}
        cls.setup_anndata(adata, **(shared | keys | (setup_kwargs or {})))
        model = cls(adata, **kwargs)
        model.latent_model = latent_model
        return model

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
            Passes of the generator's training through the cells; by default 150, but such that they take between 3,000
            and 8,000 critic steps (1,000 epochs with the paper's preset). 0 leaves the generator as the closed form has it.
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
        data = self._cells_to_train_on(batch_size)
        max_epochs = self._epochs(max_epochs, data)
        devices_kwargs = {"accelerator": accelerator, "devices": devices}
        heading = "conditional GAN"
        if self._stored_latent_key is None:
            heading = f"stage 2 of 2: {heading}"
            if self.latent_model is None:
                shared_kwargs = {"batch_size": data.batch_size, **devices_kwargs, **trainer_kwargs}
                self._fit_latent_model(shared_kwargs | (latent_kwargs or {}))
        mean, var = self._posterior()
        data.add(_keys.LATENT_MEAN_TENSOR, mean)
        if var is not None:
            data.add(_keys.LATENT_VAR_TENSOR, var)
        if not self.is_trained:
            self._start(mean, var)
        self._train_gan(
            data,
            max_epochs,
            stage=heading,
            plan_kwargs=plan_kwargs,
            trainer_kwargs=self._watching_obedience(trainer_kwargs, max_epochs),
            **devices_kwargs,
        )

    def _watching_obedience(self, trainer_kwargs: dict[str, Any], max_epochs: int) -> dict[str, Any]:
        measure = self._obedience(self.adata_manager, n_cells=_N_CELLS_WATCHED, seed=0)

        def mean_and_gap() -> dict[str, float]:
            table = measure()
            gap = (table["replicates"] - table["generated"]).max()
            return {"obedience": table["generated"].mean()} | ({} if np.isnan(gap) else {"obedience_gap": gap})

        watch = LogSometimes(mean_and_gap, every=max(1, max_epochs // _N_LOOKS))
        return trainer_kwargs | {"callbacks": [watch, *trainer_kwargs.get("callbacks", [])]}

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

    def obedience(self, adata: AnnData | None = None, *, n_cells: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Whether generated cells have the latents that they were made from.

        Cells are generated from the latents (posterior means) and totals of real cells, encoded, and correlated with what
        was asked for. The encoder is that of the beta-TCVAE; for a stored latent it is a ridge regression of the latent on
        the expression of the registered cells.

        Parameters
        ----------
        adata
            Cells with the same genes, best such that no fit has seen; ``None`` for the registered ones.
        n_cells
            Cells at most, drawn at random.
        seed
            Of all draws.

        Returns
        -------
        One row for each latent. Columns: "generated", Pearson's correlation of given and encoded latents, 1 is best; and
        "replicates", the same for counts that are drawn anew around those of the cell itself (Poisson), which is what
        counting noise alone would leave. NaN where log-normalised expression is registered. A latent that does not vary
        has 0. ``attrs["encoder"]`` is "beta-TCVAE" or "ridge regression".

        Raises
        ------
        RuntimeError
            If the model is untrained.
        """
        check_trained(self)
        return self._obedience(manager_of(self, adata), n_cells=n_cells, seed=seed)()

    def _obedience(self, manager: AnnDataManager, *, n_cells: int, seed: int) -> Callable[[], pd.DataFrame]:
        """Draw and encode the real cells now, the generated ones whenever the result is called."""
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.permutation(manager.adata.n_obs)[:n_cells])
        totals = self._totals(manager)[rows]
        noise = self._draw_noise(len(rows), rng)
        with torch.random.fork_rng():
            mean = self.get_latent_representation(manager.adata, rows)
        replicates = np.full(self.n_latent, np.nan)
        if self.registry["setup_args"]["expression"] == "counts":
            counts = self._counts(manager)[rows]
            again = rng.poisson(counts.toarray() if sp.issparse(counts) else counts)
            replicates = correlation_k(mean, self._encode(self._log_normalized(again, totals)[0]))

        def measure() -> pd.DataFrame:
            x = self._render(mean, rows, noise, manager=manager)
            if self.module.makes_counts:
                drawn = np.random.default_rng(seed).poisson(self._expected(x, totals))
                x, _ = self._log_normalized(drawn, totals)
            table = pd.DataFrame({"generated": correlation_k(mean, self._encode(x)), "replicates": replicates})
            table.attrs["encoder"] = "beta-TCVAE" if self._encodes_expression else "ridge regression"
            return table.rename_axis("latent")

        return measure

    @property
    def _encodes_expression(self) -> bool:
        """Whether log-normalised expression is all that the latent model takes."""
        return isinstance(self.latent_model, BetaTCVAE)

    def _encode(self, x: np.ndarray) -> np.ndarray:
        """Latents of log-normalised expression."""
        if not self._encodes_expression:
            if self._linear_encoder is None:
                registered = normalized_expression(self.adata_manager, self.module.inputs)
                mean = self.get_latent_representation()
                self._linear_encoder = linear_encoder(registered, mean, np.random.default_rng(0))
            return self._linear_encoder.predict(x)
        module = self.latent_model.module
        with torch.inference_mode(), torch.random.fork_rng():
            return np.concatenate(
                [module.inference(torch.from_numpy(x[c]))["qz"].loc.cpu().numpy() for c in in_chunks(len(x))]
            )

    def _latent_source(self) -> str:
        return self._stored_latent_key or _keys.LATENT

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray | None]:
        """Latents of cells: encoded by the beta-TCVAE or the latent model, or read from ``obsm``.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones. Without a latent model they need the stored latent.
        indices
            Cells to return, all by default.
        return_dist
            Also return the posterior variances (``None`` where a stored latent has none).

        Returns
        -------
        Posterior means, shape ``(n_cells, n_latent)``, and the variances where asked for.
        """
        is_stored = self._stored_latent_key is not None
        if not is_stored and self.latent_model is None:
            raise RuntimeError(f"the beta-TCVAE of this {type(self).__name__} is not trained yet; call train() first")
        if not is_stored or (self.latent_model is not None and adata is not None and adata is not self.adata):
            mean, var = posterior_of(self.latent_model, adata, indices)
            return (mean, var) if return_dist else mean
        arrays = registered_arrays(manager_of(self, adata), (_keys.LATENT_MEAN_TENSOR, _keys.LATENT_VAR_TENSOR))
        rows = slice(None) if indices is None else indices
        mean = np.asarray(arrays[_keys.LATENT_MEAN_TENSOR][rows], dtype=np.float32)
        if not return_dist:
            return mean
        var = arrays.get(_keys.LATENT_VAR_TENSOR)
        return mean, None if var is None else np.asarray(var[rows], dtype=np.float32)

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
            "model": type(self).__name__,
            "target": {k: str(v) for k, v in target.items()},
            "along": key,
            "references": list(names),
            "n_contexts": [len(r.contexts) for r in chosen],
            "weights": "given" if isinstance(weights, Mapping) else weights,
            "combination_weights": arithmetic.table(),
            "residual": residual,
            "seed": seed,
            "latent": self._stored_latent_key or _keys.LATENT,
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

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model, and its latent model beside it; arguments as in scvi-tools."""
        super().save(dir_path, *args, **kwargs)
        if self.latent_model is not None:
            kwargs = {name: value for name, value in kwargs.items() if name in ("prefix", "overwrite")}
            self.latent_model.save(os.path.join(dir_path, _LATENT_MODEL_DIR), **kwargs)

    @classmethod
    def load(cls, dir_path: str, adata: AnnData | None = None, *args, **kwargs) -> LatentGAN:
        """Load a saved model with cells of the same genes; arguments as in scvi-tools.

        Raises
        ------
        ValueError
            If ``adata`` has other genes than the model was trained on.
        """
        model = super().load(dir_path, adata, *args, **kwargs)
        latent_dir = Path(dir_path) / _LATENT_MODEL_DIR
        if latent_dir.exists():
            latent_class = class_of_saved(str(latent_dir), kwargs.get("prefix"))
            model.latent_model = latent_class.load(str(latent_dir), model.adata, *args, **kwargs)
        return model


class MichiGAN(LatentGAN):
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
    and ``score_gap``, the critic's mean score of real minus that of generated cells; and twenty times in a training
    ``obedience``, the mean correlation of the latents of 500 generated cells with what was asked for, and
    ``obedience_gap``, how far the least obedient latent is behind replicates of real cells (see :meth:`obedience`).

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

    row = Row(latent="stored", critic_head="projection")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        preset: Literal["default", "paper"] = "default",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build_on_latent(n_latent, beta, latent_sampling, preset, module_kwargs)
        finish_init(self, locals(), self._summary())


class CWGANGP(LatentGAN):
    """Conditional WGAN-GP by concatenation: MichiGAN whose critic gets cell and latent side by side.

    Parameters
    ----------
    adata, n_latent, beta, latent_sampling
        As in :class:`MichiGAN`.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.MichiGANModule` that differ from the published ones.

    Raises
    ------
    ValueError
        As in :class:`MichiGAN`.

    References
    ----------
    Yu and Welch 2021, Additional file 1, Figure S7; Mirza and Osindero 2014, "Conditional generative adversarial nets".
    """

    row = Row(latent="stored", critic_head="concatenation")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build_on_latent(n_latent, beta, latent_sampling, "paper", module_kwargs)
        finish_init(self, locals(), self._summary())


class SemiSupervisedInfoWGANGP(LatentGAN):
    """Semi-supervised InfoWGAN-GP: cells from a prior, and a code that is held to the latents of the real cells.

    The critic does not look at the latent. Its body infers one from each cell instead: that which a generated cell was made
    from, and that which is stored for a real one.

    Parameters
    ----------
    adata, n_latent, beta, latent_sampling
        As in :class:`MichiGAN`.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.MichiGANModule` that differ from the published ones.

    Raises
    ------
    ValueError
        As in :class:`MichiGAN`.

    References
    ----------
    Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN"; Spurr et al. 2017, "Guiding InfoGAN with semi-supervision".
    """

    row = Row(latent="prior", critic_head=None, information="both")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build_on_latent(n_latent, beta, latent_sampling, "paper", module_kwargs)
        finish_init(self, locals(), self._summary())
