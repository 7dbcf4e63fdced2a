"""What the GANs do alike that know the latents of cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from sklearn.linear_model import RidgeCV

from scmichigan import _keys
from scmichigan._arrays import dense, unit_of
from scmichigan._checks import check_at_least, check_choice
from scmichigan._compat import manager_of
from scmichigan.closed_form import fit_linear_gaussian, fit_poisson_log_normal
from scmichigan.train import LogSometimes

from ._beta_tcvae import BetaTCVAE, check_latent_arguments
from ._common import (
    check_trained,
    covariate_columns,
    draw_posterior,
    in_chunks,
    kind_of,
    normalized_expression,
    registered_arrays,
)
from ._fields import check_genes, register_cells
from ._gan import GANBase
from ._latent_model import (
    as_it_is,
    check_latent_model,
    check_width,
    lacks_latent,
    manager_with_latent,
    posterior_of,
    setup_arguments,
    stored,
)
from ._missing import MissingMixin
from ._modalities import register_modalities
from ._obedience import correlation_k, gap, linear_encoder
from ._saved import file_of, model_of, saved_attributes
from ._traversal import TraversalMixin

_N_LATENT, _BETA = 10, 10.0  # by default
_N_CELLS_WATCHED = 1000
_N_LOOKS = 20
_OF_LATENT_MODEL = ("gene_likelihood", "kl_weight", "hidden")
_LARGEST_UNIT = 10.0


class LatentGAN(MissingMixin, TraversalMixin, GANBase):
    """A GAN whose latents are stored ones, or those of a beta-TCVAE that it fits first; a base only."""

    latent_model: BaseModelClass | None

    def _build_on_latent(
        self, n_latent: int, beta: float, latent_sampling: str, preset: str, module_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        check_latent_arguments(n_latent, beta)
        check_choice("latent_sampling", latent_sampling, ("sample", "mean"))
        for name in _OF_LATENT_MODEL:
            if name in module_kwargs:
                raise ValueError(
                    f"{name} is an argument of the beta-TCVAE: train a BetaTCVAE(adata, {name}={module_kwargs[name]!r}) and give "
                    f"it to {type(self).__name__}.from_latent_model"
                )
        stored = self._stored_latent_key
        self.beta = beta
        self.latent_sampling = latent_sampling
        self.latent_model = None
        self._own_posterior: tuple[np.ndarray, np.ndarray | None] | None = None
        self._linear_encoder: RidgeCV | None = None
        if stored is not None:
            width = self.adata.obsm[stored].shape[1]
            if n_latent not in (width, _N_LATENT):
                raise ValueError(
                    f"n_latent is {n_latent}, and obsm[{stored!r}], which is registered as the latent, has {width} columns; leave "
                    "n_latent out"
                )
            if beta != _BETA:
                raise ValueError(
                    f"beta is {beta}, but the latent is there already, in obsm[{stored!r}]; leave beta out"
                )
            n_latent = width
        return self._build(n_latent, preset, module_kwargs)

    def _summary(self) -> str:
        stored = self._stored_latent_key
        return self._describe(f"from beta-TCVAE (beta: {self.beta})" if stored is None else f"from obsm[{stored!r}]")

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
        protein_expression_obsm_key: str | None = None,
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
        protein_expression_obsm_key
            Key of ``adata.obsm`` with protein counts, which are generated beside those of the genes. Their size factor is
            their sum.
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
            As in :meth:`BetaTCVAE.setup_anndata`, and if the latent is misshapen, not finite or the same for all cells, or its
            variances are negative, of another shape or without means.
        """
        register_cells(locals())

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        rna_layer: str | None = None,
        protein_layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        latent_key: str | None = None,
        latent_var_key: str | None = None,
        target_sum: float = 1e4,
        modalities: dict[str, str] | None = None,
        **kwargs,
    ) -> None:
        """Register cells whose RNA and proteins are generated together, and the latent where one is stored.

        Parameters
        ----------
        mdata
            The same cells in each of its modalities, in the same order.
        rna_layer, protein_layer, modalities
            As in :meth:`BetaTCVAE.setup_mudata`.
        batch_key, labels_key, size_factor_key, categorical_covariate_keys, continuous_covariate_keys, target_sum
            As in :meth:`setup_anndata`. The size factor is that of the RNA; proteins are scaled by their sum.
        latent_key, latent_var_key
            Keys of ``mdata.obsm`` with the latent to generate from and its variances, as in :meth:`setup_anndata`.
        **kwargs
            Passed to scvi-tools' registration.

        Raises
        ------
        KeyError
            If a modality, column, layer or obsm key does not exist.
        ValueError
            As in :meth:`setup_anndata`, and if the modalities have other cells or hold no counts.

        Examples
        --------
        >>> mg.MichiGAN.setup_mudata(mdata, modalities={"rna_layer": "rna", "protein_layer": "protein"})
        >>> model = mg.MichiGAN(mdata)
        >>> model.train()
        >>> cells = model.generate(1000)
        >>> cells["protein"].layers["counts"]
        """
        register_modalities(locals())

    @classmethod
    def from_latent_model(
        cls, latent_model: BaseModelClass, *, setup_kwargs: dict[str, Any] | None = None, **kwargs
    ) -> LatentGAN:
        """A model on the latent of a trained one, such as an :class:`scvi.model.SCVI`, and on its cells.

        Writes the latent of these cells to ``obsm["X_michigan"]``, its variances, where the model gives any, to
        ``obsm["X_michigan_var"]``, and where it is from to ``uns["X_michigan"]``. New cells are encoded by the trained
        model as it is now, whatever becomes of it, and this copy is saved and loaded with the new one; methods that need their
        latents store these in the same place.

        Parameters
        ----------
        latent_model
            Trained model of scvi-tools or of this package with ``get_latent_representation``, on an AnnData or on a MuData
            with RNA. Proteins that it was set up with are generated beside the RNA, peaks are not.
        setup_kwargs
            Arguments of :meth:`setup_anndata` (:meth:`setup_mudata`) that differ from those that the trained model was set up
            with (layers, batch, labels, size factor, covariates and proteins); ``modalities`` are added to its own.
        **kwargs
            Arguments of the new model, but those of a latent (``n_latent``, ``beta``).

        Raises
        ------
        RuntimeError
            If the latent model is untrained.
        ValueError
            If it has no latent of cells, if one is asked for in ``kwargs``, or as in :meth:`setup_anndata` or
            :meth:`setup_mudata`.

        Examples
        --------
        >>> scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
        >>> vae = scvi.model.SCVI(adata)
        >>> vae.train()
        >>> model = mg.MichiGAN.from_latent_model(vae)
        >>> model.train()
        """
        check_latent_model(latent_model)
        of_latent = [name for name in ("n_latent", "beta") if name in kwargs]
        if of_latent:
            raise ValueError(
                f"{', '.join(of_latent)} cannot be chosen: the latent is that of the {type(latent_model).__name__} as it is; "
                "leave this out, or train another latent model"
            )
        adata = latent_model.adata
        mean, var = posterior_of(latent_model)
        broken = ~np.isfinite(mean).all(axis=1)
        if broken.any():
            raise ValueError(
                f"the latent of the {type(latent_model).__name__} is not finite in {broken.sum()} of {len(mean)} cells, the "
                f"first is {adata.obs_names[np.argmax(broken)]!r}: look at its history, and train it again with a smaller "
                "learning rate"
            )
        adata.obsm[_keys.LATENT] = mean
        keys = {"latent_key": _keys.LATENT}
        provenance = {"model": type(latent_model).__name__}
        if var is not None:
            adata.obsm[_keys.LATENT_VAR] = var
            keys["latent_var_key"] = provenance["variance"] = _keys.LATENT_VAR
        adata.uns[_keys.LATENT] = provenance
        setup = cls.setup_anndata if isinstance(adata, AnnData) else cls.setup_mudata
        setup(adata, **setup_arguments(latent_model, setup, keys | (setup_kwargs or {})))
        model = cls(adata, **kwargs)
        model.latent_model, model._own_posterior = as_it_is(latent_model), (mean, var)
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
        with its provenance in ``uns["X_michigan"]``; its history is ``latent_model.history``. Train again to continue with
        the generator.

        Parameters
        ----------
        max_epochs
            Passes of the generator's training through the cells; by default 150, but such that they take between 3,000
            and 12,000 critic steps (1,000 epochs with the paper's preset). 0 leaves the generator as the closed form has it.
        batch_size
            Cells in a minibatch, in both stages; by default 128 (32 with the paper's preset).
        latent_kwargs
            Arguments of :meth:`BetaTCVAE.train` for the first stage.
        accelerator, devices
            As in scvi-tools, for both stages.
        plan_kwargs
            Arguments of :class:`~scmichigan.train.AdversarialTrainingPlan`.
        **trainer_kwargs
            Passed to :class:`scvi.train.Trainer` in both stages; in the second alone, ``ckpt_path``, a checkpoint to go on from,
            ``callbacks``, and ``early_stopping`` with what belongs to it. What it takes for a batch of the generator's training, as in
            ``limit_train_batches``, is five minibatches (fewer of more than 128 cells), and it looks at the number of steps
            (``max_steps``), those of both networks, after these: save checkpoints by epochs.

        Raises
        ------
        ValueError
            If there are fewer cells than a minibatch, or ``max_epochs`` is negative, or 0 where no closed form starts
            the generator.
        FloatingPointError
            If a loss becomes NaN or infinite; the message has the epoch.
        KeyboardInterrupt
            If it is interrupted; what the generator has learned is kept, and ``train`` continues.
        """
        if not isinstance(latent_kwargs, dict | None):
            raise ValueError(f"latent_kwargs is {latent_kwargs!r}; give a dictionary of arguments of BetaTCVAE.train")
        if latent_kwargs and self._stored_latent_key is not None:
            raise ValueError(
                f"latent_kwargs are for fitting a latent, but obsm[{self._stored_latent_key!r}] is registered as one; "
                "leave them out"
            )
        if latent_kwargs and self.latent_model is not None:
            raise ValueError(
                "latent_kwargs are for fitting the latent, which this model has done; leave them out to train the generator "
                "further, or make a new model"
            )
        has_latent = self._stored_latent_key is not None or self.latent_model is not None
        self._check_trainer_arguments(trainer_kwargs, {} if has_latent else {"latent_kwargs": BetaTCVAE.train})
        data = self._cells_to_train_on(batch_size)
        max_epochs, plan = self._epochs(max_epochs, data), self._plan(plan_kwargs)
        devices_kwargs = {"accelerator": accelerator, "devices": devices}
        heading = "conditional GAN"
        if self._stored_latent_key is None:
            heading = f"stage 2 of 2: {heading}"
            if self.latent_model is None:
                shared_kwargs = {"batch_size": data.batch_size, **devices_kwargs, **trainer_kwargs}
                of_first = {
                    name: value
                    for name, value in shared_kwargs.items()
                    if name not in ("ckpt_path", "callbacks") and not name.startswith("early_stopping")
                }
                self._fit_latent_model(of_first | (latent_kwargs or {}))
        mean, var = self._posterior()
        data.add(_keys.LATENT_MEAN_TENSOR, mean)
        if var is not None:
            data.add(_keys.LATENT_VAR_TENSOR, var)
        if not self.is_trained:
            self._start(mean, var)
        self._train_gan(
            data,
            plan,
            max_epochs,
            stage=heading,
            # The closed form alone has no history to write to.
            trainer_kwargs=self._watching_obedience(trainer_kwargs, max_epochs) if max_epochs else trainer_kwargs,
            **devices_kwargs,
        )

    def _watching_obedience(self, trainer_kwargs: dict[str, Any], max_epochs: int) -> dict[str, Any]:
        measure = self._obedience(self.adata_manager, n_cells=_N_CELLS_WATCHED, seed=0)

        def mean_and_gap() -> dict[str, float]:
            table = measure()
            return {"obedience": table["generated"].mean(), "obedience_gap": gap(table)}

        watch = LogSometimes(mean_and_gap, every=max(1, max_epochs // _N_LOOKS))
        return trainer_kwargs | {"callbacks": [watch, *trainer_kwargs.get("callbacks", [])]}

    @property
    def _stored_latent_key(self) -> str | None:
        return self.registry["setup_args"]["latent_key"]

    def _fit_latent_model(self, train_kwargs: dict[str, Any]) -> None:
        args = {k: v for k, v in self.registry["setup_args"].items() if not k.startswith("latent")}
        setup = BetaTCVAE.setup_anndata if isinstance(self.adata, AnnData) else BetaTCVAE.setup_mudata
        setup(self.adata, **args)
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
        centre, deviation = unit_of(condition, 0.0 if var is None else condition_var.mean(axis=0, dtype=np.float64))
        if module.scale_inputs:
            module.set_expression_scale(self._expression_deviation())
        if module.scale_inputs or module.generator.decoder is not None:
            module.set_unit(*map(torch.from_numpy, (centre, deviation)))
        else:
            _warn_of_units(centre[: self.n_latent], deviation[: self.n_latent])
        if module.critic.n_components:
            module.set_components(self._components(module.critic.input_scale, module.critic.n_components))
        condition = (condition - centre) / deviation
        condition_var = None if var is None else condition_var / deviation**2
        settings = {"condition_var": condition_var, "n_noise": module.n_noise}
        if not module.makes_counts or columns.size:
            x = normalized_expression(self.adata_manager, module.inputs)
            linear = tuple(map(torch.from_numpy, fit_linear_gaussian(x, condition, **settings)))
            in_its_unit = linear[0][:, self.n_latent :] / torch.from_numpy(deviation[self.n_latent :])
            module.covariate_weight.copy_(in_its_unit)
        if module.generator.decoder is None:
            return
        if not module.makes_counts:
            module.start(*linear)
            return
        size = self._by_feature(self._totals()) / module.inputs.target_sum
        n_centres = len(module.generator.basis.centres)
        kernel, *parts = fit_poisson_log_normal(self._counts(), size, condition, n_centres=n_centres, **settings)
        module.start(*map(torch.from_numpy, parts), kernel=tuple(map(torch.as_tensor, kernel)))

    def obedience(self, adata: AnnData | None = None, *, n_cells: int = 2000, seed: int = 0) -> pd.DataFrame:
        """Whether generated cells have the latents that they were made from.

        Cells are generated from latents of real cells, as the generator was trained with them (samples of the posterior, or
        means), and the cells' totals; they are encoded, and what is found is correlated with what was asked for. The encoder
        is that of the beta-TCVAE; for a stored latent it is a ridge regression of the latent on the expression of the
        registered cells.

        Parameters
        ----------
        adata
            Cells with the same genes, best such that no fit has seen; ``None`` for the registered ones.
        n_cells
            Cells to generate, 2 or more. Of fewer real cells, some or all are taken several times, each time with another
            sample. Correlations near 0 have the standard error ``1 / sqrt(n_cells)``.
        seed
            Of all draws.

        Returns
        -------
        One row for each latent. Columns: "generated", Pearson's correlation of given and found latents. "real", the same for
        the real cells that the latents are of, which is what a generator has that draws from the exact distribution of
        cells given the latent: (latent, cell) is then distributed as it is for real cells. It is below 1 where posteriors
        are wide, and near 0 for latents that are not in use. "replicates", the same for counts that are drawn anew around
        those of the real cells (Poisson): what is left to see of the latents through counting noise; NaN where
        log-normalised expression is registered. Of real cells it is the correlation that is expected over samples. A
        latent that does not vary has 0. ``attrs["encoder"]`` is "beta-TCVAE" or "ridge regression".

        Raises
        ------
        RuntimeError
            If the model is untrained.
        ValueError
            If ``n_cells`` is below 2.
        """
        check_trained(self)
        check_at_least(2, n_cells=n_cells)
        return self._obedience(manager_with_latent(self, adata), n_cells=n_cells, seed=seed)()

    def _obedience(self, manager: AnnDataManager, *, n_cells: int, seed: int) -> Callable[[], pd.DataFrame]:
        """Draw and encode the real cells now, the generated ones whenever the result is called."""
        rng = np.random.default_rng(seed)
        rows = np.sort(np.resize(rng.permutation(manager.adata.n_obs), n_cells))
        cells, of_cells = np.unique(rows, return_inverse=True)
        totals = self._totals(manager)[rows]
        noise = self._draw_noise(len(rows), rng)
        with torch.random.fork_rng():
            mean, var = self.get_latent_representation(manager.adata, cells, return_dist=True)
        mean, var = mean[of_cells], None if var is None or self.latent_sampling == "mean" else var[of_cells]
        given = mean if var is None else draw_posterior(mean, var, rng)
        x = dense(normalized_expression(manager, self.module.inputs, cells))
        real = correlation_k(mean, self._encode(x)[of_cells], var)
        replicates = np.full(self.n_latent, np.nan)
        if kind_of(self) == "counts":
            again = rng.poisson(dense(self._counts(manager)[rows]))
            replicates = correlation_k(mean, self._encode(self._log_normalized(again, totals)[0]), var)

        def measure() -> pd.DataFrame:
            x = self._render(given, rows, noise, manager=manager)
            if self.module.makes_counts:
                drawn = np.random.default_rng(seed).poisson(self._expected(x, totals))
                x, _ = self._log_normalized(drawn, totals)
            generated = correlation_k(given, self._encode(x))
            table = pd.DataFrame({"generated": generated, "replicates": replicates, "real": real})
            table.index += 1  # as in traverse and the metrics
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
            return self._linear_encoder.predict(x).reshape(len(x), self.n_latent)  # of one latent it has no columns
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
        if self.latent_model is not None:
            mean, var = self._inferred(adata, indices)
            return (mean, var) if return_dist else mean
        arrays = registered_arrays(manager_of(self, adata), (_keys.LATENT_MEAN_TENSOR, _keys.LATENT_VAR_TENSOR))
        rows = slice(None) if indices is None else indices
        mean = np.asarray(arrays[_keys.LATENT_MEAN_TENSOR][rows], dtype=np.float32)
        if not return_dist:
            return mean
        var = arrays.get(_keys.LATENT_VAR_TENSOR)
        return mean, None if var is None else np.asarray(var[rows], dtype=np.float32)

    def _inferred(self, adata: AnnData | None, indices: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Posterior by the latent model. Of the registered cells, that which the generator has: ``obsm`` is open to others."""
        if self._stored_latent_key is None or not (adata is None or adata is self.adata):
            return posterior_of(self.latent_model, adata, indices)
        if self._own_posterior is None:
            self._own_posterior = posterior_of(self.latent_model)
        rows = slice(None) if indices is None else indices
        mean, var = self._own_posterior
        return mean[rows], None if var is None else var[rows]

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model, and its latent model in the same file; arguments as in scvi-tools."""
        # The underscore has scvi-tools save it.
        self.latent_file_ = None if self.latent_model is None else file_of(self.latent_model)
        try:
            super().save(dir_path, *args, **kwargs)
        finally:
            del self.latent_file_

    @classmethod
    def load(
        cls,
        dir_path: str,
        adata: AnnData | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        **kwargs,
    ) -> LatentGAN:
        """Load a saved model with cells of the same genes; arguments as in scvi-tools.

        Where the model has a latent model, the latents of the cells are inferred by it and, where ``adata`` has none, stored
        where the model was set up with them.

        Raises
        ------
        FileNotFoundError
            If there is no saved model.
        ValueError
            If ``adata`` has other genes than the model was trained on, or the file holds more than data, which might
            run when it is loaded.
        """
        devices = {"accelerator": accelerator, "device": device}
        latent_model = posterior = None
        writing = nullcontext()
        saved = {} if adata is None else saved_attributes(dir_path, kwargs.get("prefix"), kwargs.get("backup_url"))
        setup_args = saved["registry_"]["setup_args"] if saved else {}
        if saved.get("latent_file_") is not None and setup_args.get("latent_key"):
            if isinstance(adata, AnnData):  # before a model of scvi-tools says so, without the cure
                registered = saved["registry_"]["field_registries"][REGISTRY_KEYS.X_KEY]["state_registry"]
                check_genes(registered["column_names"], adata.var_names, "adata")
            latent_model = model_of(saved["latent_file_"], adata, **devices)
            posterior = posterior_of(latent_model)
            if lacks_latent(setup_args, adata):
                writing = stored(posterior, setup_args, adata)
            else:
                check_width(posterior[0], setup_args["latent_key"], adata)
        with writing:
            model = super().load(dir_path, adata, **devices, **kwargs)
        file = vars(model).pop("latent_file_")
        if file is not None:
            model.latent_model = latent_model or model_of(file, model.adata, **devices)
            model._own_posterior = posterior
        return model


def _warn_of_units(centre: np.ndarray, deviation: np.ndarray) -> None:
    """Say that networks which take latents as they are were not made for these."""
    worst = np.maximum(np.abs(centre), deviation)
    if worst.max() > _LARGEST_UNIT or worst.max() < 1 / _LARGEST_UNIT:
        k = int(np.argmax(worst))
        warnings.warn(
            f"latent {k + 1} has the mean {centre[k]:.3g} and the standard deviation {deviation[k]:.3g}, and the published "
            "networks, which take it as it is, are made for about 0 and 1: standardise the latent first (the default preset of "
            "MichiGAN does so itself)",
            stacklevel=3,
        )
