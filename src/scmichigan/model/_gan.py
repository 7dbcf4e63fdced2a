"""The machine of all GANs: a generator and a critic on registered cells."""

from functools import partial
from typing import Any, Self

import numpy as np
import torch
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan import latents
from scmichigan._arrays import dense, in_chunks
from scmichigan._checks import check_choice, check_latent, check_n_latent, check_trained
from scmichigan._saved import as_data, check_file, restore_history
from scmichigan.data import RegisteredCells
from scmichigan.module import CellFormat, MichiGANModule
from scmichigan.train import own_arguments

from ._decoded import decoded_expression
from ._latent_recovery import latent_recovery
from ._latents import (
    check_latent_arguments,
    check_stored_width,
    from_latent_model,
    get_latent_representation,
    observed_expression,
)
from ._model import OF_OTHER_MODELS, refuses
from ._predictions import benchmark_predictions, missing_combinations, predict_all, predict_combination, predictor
from ._rows import Row, module_settings
from ._setups import setup_anndata, setup_mudata
from ._train_gan import train
from ._traversal import traverse

_CHUNK_ROWS = 4096


@refuses(*OF_OTHER_MODELS, "get_elbo", "get_reconstruction_error")
class GAN(BaseModelClass):
    """A generator and a critic on registered cells; a base only, to which each GAN adds its row and its constructor."""

    row: Row
    latent: latents.StoredLatent | latents.FittedLatent | latents.ModelLatent | latents.PriorLatent

    def _build(
        self,
        n_latent: int,
        module_kwargs: dict[str, Any],
        *,
        preset: str = "paper",
        beta: float | None = None,
        latent_sampling: str = "sample",
    ) -> dict[str, Any]:
        """Make the module; give its settings, with which it can be built again for other cells."""
        check_n_latent(n_latent)
        check_choice("latent_sampling", latent_sampling, ("sample", "mean"))
        cells = RegisteredCells(self.adata_manager)
        name, key, cells_of = type(self).__name__, cells.setup_args.get("latent_key"), partial(RegisteredCells.of, self)
        if beta is None:
            self.latent = latents.PriorLatent(name, cells_of, self._codes if self.row.information else None)
        else:
            check_latent_arguments(name, beta, module_kwargs)
            self.latent = latents.FittedLatent(name) if key is None else latents.StoredLatent(key, cells_of)
            n_latent = (
                n_latent if key is None else check_stored_width(self.adata.obsm[key].shape[1], key, n_latent, beta)
            )
        settings = module_settings(
            self.row,
            preset,
            module_kwargs,
            of_model=own_arguments(type(self)),
            counts=cells.are_counts,
            n_cells=cells.n_cells,
        )
        self.n_latent, self.preset, self.beta, self.latent_sampling = n_latent, preset, beta, latent_sampling
        self.module = MichiGANModule(cells.n_features, n_latent, settings=settings, cells=CellFormat(**cells.format()))
        self.module.inputs.set_unit(*cells.numbers_unit())
        return self.row.chosen(settings)

    def _summary(self) -> str:
        """What ``repr`` prints."""
        key = self.registry["setup_args"].get("latent_key")
        latent = "from a prior" if self.beta is None else f"from beta-TCVAE (beta: {self.beta})"
        latent = latent if key is None else f"from obsm[{key!r}]"
        makes = "counts" if self.module.makes_counts else "log-normalised expression"
        return (
            f"{type(self).__name__} with n_latent: {self.n_latent} {latent}, on {self.cells.describe()}, makes {makes}"
        )

    @property
    def cells(self) -> RegisteredCells:
        """The registered cells."""
        return RegisteredCells.of(self)

    @property
    def latent_model(self) -> BaseModelClass | None:
        """The model that infers the latents: the fitted beta-TCVAE, or the trained model that was given."""
        return self.latent.model

    def generate(
        self,
        n_samples: int = 1000,
        *,
        labels: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        size_factor: float | np.ndarray | None = None,
        seed: int = 0,
    ) -> AnnData | MuData:
        """Generate cells.

        Parameters
        ----------
        n_samples
            Cells to generate, from latents (and covariates) sampled from the registered cells; by models whose latents
            have a prior, from that. Not used with ``latent``.
        labels
            Labels of the registered cells whose latents are sampled, for example ``{"cell_type": "B cells"}``; ``{}`` takes
            all cells.
        latent
            Generate one cell from each of these latents instead, shape ``(n_samples, n_latent)``; covariates are then
            sampled from the registered cells.
        size_factor
            Expected total counts of each cell, one for all or one each; by default the totals of the source cells. With
            proteins it is that of the RNA, and shape ``(n_samples, 2)`` gives that of the proteins, too. Only of models that
            make counts.
        seed
            Random seed.

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
        RuntimeError, ValueError
            If the model is untrained; if no cell has the labels, or they are given to a model that knows no latents of cells; if ``latent`` has another
            width than the model's or is not finite, or ``size_factor`` is no total of so many cells.
        """
        check_trained(self)
        rng, cells = np.random.default_rng(seed), self.cells
        z = None if latent is None else check_latent(latent, self.n_latent)
        rows = cells.sample_rows(n_samples if z is None else len(z), labels, rng)
        totals = self._given_totals(size_factor, rows)
        if z is not None:
            name = "given"
        elif self.row.latent == "prior" and labels is None:
            name, z = "prior", rng.standard_normal((len(rows), self.n_latent), dtype=np.float32)
        else:
            name, z = self.latent.name, self._sample_latent(rows, rng)
        values = self._render(z, rows, self._sample_noise(len(z), rng))
        if self.module.makes_counts:
            values = rng.poisson(cells.expected(values, totals))
        source = {"rows": None, "covariates_of": rows} if name in ("given", "prior") else {"rows": rows}
        provenance = {"model": type(self).__name__, "latent": name, "seed": seed}
        return cells.as_registered(cells.generated(values, totals, latent=z, provenance=provenance, **source))

    setup_anndata = classmethod(setup_anndata)
    setup_mudata = classmethod(setup_mudata)
    from_latent_model = classmethod(from_latent_model)
    train = train
    traverse = traverse
    latent_recovery = latent_recovery
    predictor = predictor  # no property: scvi-tools asks for all of these to save a model
    predict_combination = predict_combination
    missing_combinations = missing_combinations
    predict_all = predict_all
    benchmark_predictions = classmethod(benchmark_predictions)
    get_latent_representation = get_latent_representation
    get_normalized_expression = decoded_expression
    get_observed_expression = observed_expression

    def save(self, dir_path: str, *args, **kwargs) -> None:
        """Save the model, and its latent model in the same file; arguments as in scvi-tools."""
        self.latent_file_ = self.latent.file()  # the underscore has scvi-tools save it
        try:
            with as_data(self):
                super().save(dir_path, *args, **kwargs)
        finally:
            del self.latent_file_

    @classmethod
    def load(
        cls,
        dir_path: str,
        adata: AnnData | MuData | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        **kwargs,
    ) -> Self:
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
        path = check_file(dir_path, kwargs.get("prefix"), kwargs.get("backup_url"))
        with latents.latent_of_file(path, adata, **devices) as of_cells:
            model = super().load(dir_path, adata, **devices, **kwargs)
        restore_history(model)
        file = vars(model).pop("latent_file_", None)
        if file is not None:
            latent_model, posterior = of_cells or (latents.model_of(file, model.adata, **devices), None)
            key = model.registry["setup_args"].get("latent_key")
            model.latent = (
                latents.FittedLatent(cls.__name__, latent_model)
                if key is None
                else latents.ModelLatent(latent_model, key, partial(RegisteredCells.of, model), posterior)
            )
        return model

    def _given_totals(self, size_factor: float | np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        """Totals of the cells to make, by default those of their source cells."""
        if not self.module.makes_counts:
            if size_factor is not None:
                raise ValueError("size_factor is for models that make counts; this one makes log-normalised expression")
            return None
        totals = self.cells.totals()[rows]
        if size_factor is None:
            return totals
        given = np.asarray(size_factor, dtype=np.float64)
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

    def _sample_latent(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Latents of registered cells: means, or a sample of each posterior."""
        mean, var = latents.posterior_to_sample(self.latent, self.latent_sampling)
        z = mean[rows]
        return z if var is None else latents.sample_posterior(z, var[rows], rng)

    def _sample_noise(self, n_samples: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal((n_samples, self.module.n_noise), dtype=np.float32))

    def _render(
        self, z: np.ndarray, rows: np.ndarray, noise: torch.Tensor, *, cells: RegisteredCells | None = None
    ) -> np.ndarray:
        """Output of the generator for latents, the covariates of the given registered cells, and noise."""
        covariates = (cells or self.cells).covariates(rows)
        condition = torch.from_numpy(np.hstack([z, covariates]).astype(np.float32))
        chunks = zip(condition.split(_CHUNK_ROWS), noise.split(_CHUNK_ROWS), strict=True)
        return torch.cat([self.module.sample(*chunk) for chunk in chunks]).cpu().numpy()

    def _decode(self, z: np.ndarray, covariates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Output of the generator for latents, covariates and noise of its own."""
        condition = torch.from_numpy(np.hstack([z, covariates]).astype(np.float32))
        return self.module.sample(condition, self._sample_noise(len(z), rng)).cpu().numpy()

    def _codes(self, cells: RegisteredCells, rows: np.ndarray) -> np.ndarray:
        """Codes of cells, as the body of the critic infers them."""
        check_trained(self)
        columns = torch.from_numpy(cells.covariates(rows))
        codes = []
        for chunk in in_chunks(len(rows)):
            x = torch.from_numpy(dense(cells.expression(rows[chunk])))
            codes.append(self.module.infer_codes(x, columns[chunk]).cpu().numpy())
        return np.concatenate(codes)
