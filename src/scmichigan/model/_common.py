"""What the models do alike: arrays of the registered cells, training runs, and AnnData of generated cells."""

from __future__ import annotations

import inspect
import logging
import signal
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from scvi.train import Trainer, TrainRunner

from scmichigan import _keys
from scmichigan._arrays import dense, unit_of
from scmichigan._checks import check_obs_keys, is_number
from scmichigan.module import CellFormat, ExpressionInputs
from scmichigan.train import CellDataModule, StageProgressBar, StopOnNonFinite

from ._fields import ExpressionKind, place_of
from ._latent_model import manager_of_expression
from ._modalities import annotation, in_modalities, like_registered

logger = logging.getLogger("scmichigan")

_CHUNK_ROWS = 4096
_N_CELLS_LOOKED_AT = 1000
_N_LEVELS_SHOWN = 20
_LARGEST_ROUNDING = 0.01
_COUNTS = (REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.PROTEIN_EXP_KEY)
_COVARIATES = (REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.CAT_COVS_KEY, REGISTRY_KEYS.CONT_COVS_KEY)


def registered_arrays(
    manager: AnnDataManager, keys: Sequence[str] = (*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY, *_COVARIATES)
) -> dict[str, np.ndarray | sp.spmatrix]:
    """Registered data by tensor name, one row a cell; what was not registered is left out."""
    arrays = {}
    for key in keys:
        if key not in manager.data_registry:
            continue
        data = manager.get_from_registry(key)
        if isinstance(data, pd.DataFrame):
            data = data.to_numpy()
        if not sp.issparse(data):
            data = np.asarray(data)
            data = data[:, None] if data.ndim == 1 else data
        if key in _COUNTS:
            _check_still_counts(manager, data)
        arrays[key] = data
    return arrays


def _check_still_counts(manager: AnnDataManager, data: np.ndarray | sp.spmatrix) -> None:
    """Refuse registered counts that were normalised in place since, as is easily done; the first cells tell."""
    args = manager.registry["setup_args"]
    if args.get("expression", "counts") != "counts":
        return
    first = data[:_N_CELLS_LOOKED_AT] if not sp.issparse(data) else data.tocsr()[:_N_CELLS_LOOKED_AT].data
    if not np.array_equal(first, np.round(first)):
        raise ValueError(
            f"{' or '.join(_places(args))} held raw counts when it was registered, and has fractions now: put the counts back, "
            "and keep what you normalise elsewhere, for example adata.layers['counts'] = adata.X.copy() before, and "
            "layer='counts' in the setup"
        )


def normalized_expression(
    manager: AnnDataManager, inputs: ExpressionInputs, rows: np.ndarray | None = None
) -> np.ndarray | sp.csr_matrix:
    """Log-normalised expression of the registered cells, or of some of their rows, a copy; sparse stays sparse."""
    return side_by_side(normalized_modalities(manager, inputs, rows))


def normalized_modalities(
    manager: AnnDataManager, inputs: ExpressionInputs, rows: np.ndarray | None = None
) -> list[np.ndarray | sp.csr_matrix]:
    """The same of each modality: genes and, where they are registered, proteins."""
    arrays = registered_arrays(manager, (*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY))
    if rows is not None:
        arrays = {name: array[rows] for name, array in arrays.items()}
    x = arrays[REGISTRY_KEYS.X_KEY]
    if not inputs.counts:
        return [x.tocsr().astype(np.float32) if sp.issparse(x) else np.array(x, dtype=np.float32)]
    factors = arrays.get(REGISTRY_KEYS.SIZE_FACTOR_KEY), None
    counts = (arrays[key] for key in _COUNTS if key in arrays)
    return [_log_normalized(x, factor, inputs.target_sum) for x, factor in zip(counts, factors, strict=False)]


def _log_normalized(
    x: np.ndarray | sp.spmatrix, totals: np.ndarray | None, target_sum: float
) -> np.ndarray | sp.csr_matrix:
    totals = np.asarray(x.sum(axis=1)).reshape(-1, 1) if totals is None else totals
    scale = (target_sum / totals).astype(np.float32)
    if sp.issparse(x):
        return sp.diags_array(scale.ravel()).dot(x.tocsr().astype(np.float32)).tocsr().log1p()
    return np.log1p(x * scale, dtype=np.float32)


def side_by_side(modalities: Sequence[np.ndarray | sp.spmatrix]) -> np.ndarray | sp.csr_matrix:
    """Columns of all modalities; sparse where the first is."""
    first, *others = modalities
    if not others:
        return first
    return sp.hstack(modalities, format="csr") if sp.issparse(first) else np.hstack([first, *map(dense, others)])


def registered_counts(manager: AnnDataManager) -> list[np.ndarray | sp.csr_matrix]:
    """Counts of each modality."""
    return [x.tocsr() if sp.issparse(x) else x for x in registered_arrays(manager, _COUNTS).values()]


def registered_totals(manager: AnnDataManager) -> np.ndarray:
    """Total counts of each cell in each modality, registered or sums, shape ``(n_cells, n_modalities)``."""
    arrays = registered_arrays(manager, (*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY))
    of_rna = arrays.pop(REGISTRY_KEYS.SIZE_FACTOR_KEY, None)
    totals = [x.sum(axis=1) if of_rna is None or name != REGISTRY_KEYS.X_KEY else of_rna for name, x in arrays.items()]
    return np.stack([np.ravel(total) for total in totals], axis=1).astype(np.float64)


class ExpressionMixin:
    """Expression as the model sees it, and cells of it; for models whose module has the inputs that say how."""

    def get_normalized_expression(
        self, adata: AnnData | MuData | None = None
    ) -> np.ndarray | sp.csr_matrix | tuple[np.ndarray | sp.csr_matrix, np.ndarray | sp.csr_matrix]:
        """Log-normalised expression as the model sees it.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones. They need no stored latent.

        Returns
        -------
        A copy of shape ``(n_cells, n_genes)``, sparse where the registered expression is; where proteins are registered,
        those of genes and of proteins.
        """
        parts = normalized_modalities(manager_of_expression(self, adata), self.module.inputs)
        return parts[0] if len(parts) == 1 else tuple(parts)

    @property
    def _labelled(self) -> AnnData:
        """AnnData with the labels of the registered cells and the names of their genes."""
        return annotation(self.adata, self.registry["setup_args"].get("modalities"))

    def _counts(self, manager: AnnDataManager | None = None) -> np.ndarray | sp.csr_matrix:
        return side_by_side(registered_counts(manager or self.adata_manager))

    def _totals(self, manager: AnnDataManager | None = None) -> np.ndarray:
        """Total counts of each registered cell in each modality, shape ``(n_cells, n_modalities)``."""
        return registered_totals(manager or self.adata_manager)

    def _by_feature(self, totals: np.ndarray) -> np.ndarray:
        """Totals of each modality as columns for its features; a single one stays a single column."""
        if totals.shape[1] == 1:
            return totals
        return np.repeat(totals, [self.summary_stats.n_vars, self.module.inputs.n_proteins], axis=1)

    def _cells(
        self,
        values: np.ndarray,
        totals: np.ndarray | None,
        *,
        rows: np.ndarray | None,
        latent: np.ndarray,
        provenance: dict[str, Any],
    ) -> AnnData:
        """AnnData of generated expression (where there are no totals) or counts, any proteins in obsm."""
        split = self.module.inputs.split
        counts = None
        if totals is not None:
            counts = split(np.asarray(values, dtype=np.float32))
            values, totals = self._log_normalized(values, totals)
        x, *proteins = split(values)
        setup_args = self.registry["setup_args"]
        cells = generated_anndata(self._labelled, x, setup_args, rows=rows, latent=latent, provenance=provenance)
        if counts is not None:
            cells.layers[_keys.COUNTS] = sp.csr_matrix(counts[0])
            cells.obs[setup_args["size_factor_key"] or _keys.TOTAL_COUNTS] = totals[:, 0]
        return self._with_proteins(cells, *proteins, *(counts or ())[1:]) if proteins else cells

    def _log_normalized(self, counts: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts normalised as the registered ones are, and what by: the given totals of RNA, or sums."""
        sums = np.stack([np.maximum(x.sum(axis=1), 1.0) for x in self.module.inputs.split(counts)], axis=1)
        if self.registry["setup_args"]["size_factor_key"] is not None:
            sums[:, 0] = totals[:, 0]
        scale = self._by_feature(self.module.inputs.target_sum / sums)
        return np.log1p(scale * counts).astype(np.float32), sums

    def _with_proteins(self, cells: AnnData, expression: np.ndarray, counts: np.ndarray | None = None) -> AnnData:
        """Generated cells with their proteins, log-normalised and as counts, in obsm."""
        cells.obsm[_keys.PROTEINS] = expression
        if counts is not None:
            key = self.registry["setup_args"].get("protein_expression_obsm_key")
            registered = self.adata.obsm.get(key) if key else None
            cells.obsm[key or _keys.PROTEIN_COUNTS] = like_registered(counts, registered, cells.obs_names)
        return cells

    def _with_covariates(self, cells: AnnData, rows: np.ndarray) -> AnnData:
        """Cells of latents that are no registered cell's, with the batch and covariates that they were rendered with."""
        for key in covariate_keys(self.registry["setup_args"]):
            cells.obs[key] = self._labelled.obs[key].iloc[rows].array
        return cells

    def _as_registered(self, cells: AnnData) -> AnnData | MuData:
        """Generated cells in the form in which the real ones were registered."""
        return (
            cells if isinstance(self.adata, AnnData) else in_modalities(cells, self.adata, self.registry["setup_args"])
        )


def covariate_columns(manager: AnnDataManager, inputs: ExpressionInputs, rows: np.ndarray) -> torch.Tensor:
    """Covariate columns of the given registered cells, shape ``(n_rows, n_columns)``."""
    arrays = registered_arrays(manager, _COVARIATES)
    return inputs.covariates({name: torch.as_tensor(np.asarray(a[rows], np.float32)) for name, a in arrays.items()})


def covariate_keys(setup_args: dict[str, Any]) -> list[str]:
    """Columns of obs that expression depends on beside the latent."""
    several = [setup_args.get(name) or [] for name in ("categorical_covariate_keys", "continuous_covariate_keys")]
    return [*filter(None, [setup_args.get("batch_key")]), *several[0], *several[1]]


def n_features(model: BaseModelClass) -> int:
    """Genes and proteins."""
    return model.summary_stats.n_vars + model.summary_stats.get("n_proteins", 0)


def cell_format(model: BaseModelClass) -> CellFormat:
    """What is registered of each cell, for the modules."""
    manager, args = model.adata_manager, model.registry["setup_args"]
    has_categories = REGISTRY_KEYS.CAT_COVS_KEY in manager.data_registry
    return CellFormat(
        counts=kind_of(model) == "counts",
        has_totals=args["size_factor_key"] is not None,
        target_sum=args["target_sum"],
        n_proteins=model.summary_stats.get("n_proteins", 0),
        n_batch=model.summary_stats.n_batch,
        n_cats_per_cov=(
            tuple(manager.get_state_registry(REGISTRY_KEYS.CAT_COVS_KEY).n_cats_per_key) if has_categories else ()
        ),
        n_continuous_cov=model.summary_stats.get("n_extra_continuous_covs", 0),
    )


def standardise_numbers(model: BaseModelClass) -> None:
    """Bring the continuous covariates that a model's networks see to a mean of 0 and a variance of 1."""
    numbers = registered_arrays(model.adata_manager, (REGISTRY_KEYS.CONT_COVS_KEY,)).get(REGISTRY_KEYS.CONT_COVS_KEY)
    if numbers is None:
        return
    numbers = np.asarray(numbers, dtype=np.float64)
    mean, deviation = unit_of(numbers)
    lost = np.abs(numbers - numbers.astype(np.float32)).max(axis=0) > _LARGEST_ROUNDING * deviation
    if lost.any():
        k = int(np.argmax(lost))
        key = model.registry["setup_args"]["continuous_covariate_keys"][k]
        raise ValueError(
            f"obs[{key!r}] has the mean {mean[k]:.6g} and the standard deviation {deviation[k]:.3g}, of which single precision "
            "leaves too little: subtract the mean first, or take another unit"
        )
    model.module.inputs.set_unit(mean, deviation)


def describe_expression(model: BaseModelClass) -> str:
    """What the model took as expression, in words."""
    args = model.registry["setup_args"]
    places = _places(args)
    place = " and ".join(places)
    if kind_of(model) == "log_normalized":
        return f"log-normalised values of {place}, as they are"
    total = "their sum" if args["size_factor_key"] is None else f"obs[{args['size_factor_key']!r}]"
    if len(places) == 2 and args["size_factor_key"] is not None:
        total += " (of proteins, their sum)"
    return f"raw counts of {place}, as log1p({args['target_sum']:g} * counts / {total})"


def _places(args: dict[str, Any]) -> list[str]:
    if "modalities" not in args:
        proteins = args.get("protein_expression_obsm_key")
        return [place_of(args["layer"]), *([] if proteins is None else [f"obsm[{proteins!r}]"])]
    names = {argument: args["modalities"].get(argument) for argument in ("rna_layer", "protein_layer")}
    return [place_of(args[argument], f"mdata[{name!r}]") for argument, name in names.items() if name is not None]


def kind_of(model: BaseModelClass) -> ExpressionKind:
    """What is registered; from a MuData it is always counts."""
    return model.registry["setup_args"].get("expression", "counts")


def epochs_for(n_steps: int, n_cells: int, batch_size: int) -> int:
    """Epochs that take about ``n_steps`` minibatches."""
    return max(1, round(n_steps / max(1, n_cells // batch_size)))


def check_epochs(max_epochs: int | None) -> int | None:
    """Refuse anything but a positive number of epochs; ``None`` stays."""
    if not isinstance(max_epochs, Integral | None) or (max_epochs is not None and max_epochs < 1):
        raise ValueError(f"max_epochs is {max_epochs!r}; give a whole number, 1 or more, or None to have the default")
    return max_epochs


def own_arguments(model: type[BaseModelClass]) -> list[str]:
    """Names of the arguments of a model but for the cells, and for those that it passes to its module."""
    parameters = inspect.signature(model).parameters.values()
    return [p.name for p in parameters if p.name != "adata" and p.kind is not p.VAR_KEYWORD]


def check_trainer_arguments(
    model: BaseModelClass, given: dict[str, Any], elsewhere: dict[str, Callable[..., None]]
) -> None:
    """Refuse what no trainer takes; ``elsewhere`` are arguments of ``train`` with functions whose arguments they hold."""
    known = {name for trainer in (Trainer, pl.Trainer) for name in inspect.signature(trainer).parameters} - {
        "overfit_batches"
    }
    for name in set(given) - known - {"ckpt_path"}:
        own = ", ".join(
            key for key in inspect.signature(model.train).parameters if key not in ("self", "trainer_kwargs")
        )
        cure = f"its arguments are {own}, and those of scvi.train.Trainer"
        settings = getattr(model.module, "settings", None)
        of_module = inspect.signature(type(model.module) if settings is None else type(settings)).parameters
        if name in [*own_arguments(type(model)), *of_module]:
            cure = f"it is one of the constructor, {name}={given[name]!r} where the model is made"
        for argument, function in elsewhere.items():
            if name in inspect.signature(function).parameters:
                cure = f"give it in {argument}={{{name!r}: {given[name]!r}}}"
        raise TypeError(f"{type(model).__name__}.train has no {name}; {cure}")
    path = given.get("ckpt_path")
    # Lightning takes addresses and words of its own, too, and would miss a file only when a first stage is over.
    if path is not None and Path(path).suffix and "://" not in str(path) and not Path(path).exists():
        raise FileNotFoundError(
            f"ckpt_path is {str(path)!r}, and there is no such file; give one that a ModelCheckpoint wrote"
        )


def check_plan_arguments(given: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Arguments of a training plan; refuse what it does not know."""
    if not isinstance(given, dict | None):
        raise ValueError(f"plan_kwargs is {given!r}; give a dictionary, whose keys may be {', '.join(known)}")
    unknown = [str(name) for name in given or {} if name not in known]
    if unknown:
        raise ValueError(f"plan_kwargs has {', '.join(unknown)}; its arguments are {', '.join(known)}")
    return given or {}


def run_training(
    model: BaseModelClass,
    plan: pl.LightningModule,
    data: CellDataModule,
    *,
    max_epochs: int,
    stage: str,
    advice: str,
    accelerator: str,
    devices: int | list[int] | str,
    trainer_kwargs: dict[str, Any],
) -> None:
    """Train with scvi-tools' runner, our progress bar and a stop at losses that are no numbers, with the weights from before."""
    # The plans log epochs, and an epoch of few steps is none to warn of.
    trainer_kwargs = {"log_every_n_steps": 0} | trainer_kwargs
    trainer_kwargs.pop("simple_progress_bar", None)
    callbacks = [StopOnNonFinite(advice), *(trainer_kwargs.pop("callbacks", None) or [])]
    if trainer_kwargs.pop("enable_progress_bar", True):
        callbacks.append(StageProgressBar(stage))
    logger.info("%s on %s: %d epochs", stage, describe_expression(model), max_epochs)
    runner = TrainRunner(
        model,
        training_plan=plan,
        data_splitter=data,
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=devices,
        callbacks=callbacks,
        simple_progress_bar=False,
        enable_progress_bar=any(isinstance(c, StageProgressBar) for c in callbacks),
        **trainer_kwargs,
    )
    handler = signal.getsignal(signal.SIGINT)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    # scvi-tools leaves a trained module in evaluation mode; without this, further training would keep it there.
    model.module.train()
    try:
        runner()
    except FloatingPointError:
        model.module.load_state_dict(before)
        raise
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning ends the program, and has switched off Ctrl+C for whatever comes before the end.
        signal.signal(signal.SIGINT, handler)
        if runner.trainer.current_epoch > 0:  # what was learned is kept
            model.is_trained = True
            model.to_device(runner.device)
        raise KeyboardInterrupt(f"training stopped in epoch {runner.trainer.current_epoch + 1}") from None
    finally:
        model.module.eval()


def in_chunks(n_rows: int) -> list[slice]:
    """Slices that cover ``n_rows`` rows."""
    return [slice(start, start + _CHUNK_ROWS) for start in range(0, n_rows, _CHUNK_ROWS)]


def check_trained(model: BaseModelClass) -> None:
    """Refuse to answer from random weights."""
    if not model.is_trained:
        raise RuntimeError(f"this {type(model).__name__} is untrained; call train() first")


def check_labels(labels: dict[str, object] | None, name: str) -> None:
    """Refuse anything but one label for each key."""
    if labels is not None and not (isinstance(labels, dict) and all(map(pd.api.types.is_scalar, labels.values()))):
        raise ValueError(f"{name} is {labels!r}; give one label for each obs key, such as {{'cell_type': 'B cells'}}")


def check_n_latent(n_latent: int) -> None:
    """Refuse latents without dimensions."""
    if not isinstance(n_latent, Integral) or n_latent < 1:
        raise ValueError(f"n_latent is {n_latent!r}; a latent needs at least 1 dimension, a whole number")


def check_latent(latent: np.ndarray, n_latent: int) -> np.ndarray:
    """Given latents in single precision; refuse those of another width, and those that are not finite."""
    z = np.asarray(latent, dtype=np.float32)
    if z.ndim != 2 or z.shape[1] != n_latent:
        raise ValueError(f"latent has shape {z.shape}; the model takes (n_samples, {n_latent})")
    if not np.isfinite(z).all():
        raise ValueError(f"latent is not finite in row {int(np.argmax(~np.isfinite(z).all(axis=1)))}")
    return z


def check_n_samples(n_samples: int | None) -> None:
    """Refuse anything but a positive number of cells."""
    if not isinstance(n_samples, Integral | None):
        raise ValueError(f"n_samples is {n_samples!r}; give a whole number of cells")
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; ask for at least 1 cell")


def generated_anndata(
    adata: AnnData,
    x: np.ndarray,
    setup_args: dict[str, Any],
    *,
    rows: np.ndarray | None,
    latent: np.ndarray,
    provenance: dict[str, Any],
) -> AnnData:
    """AnnData of generated cells: genes of ``adata``, labels and covariates of the source cells, latents in obsm."""
    names = [f"generated_{i}" for i in range(len(x))]
    obs = pd.DataFrame(index=names)
    if rows is not None:
        registered = [setup_args["labels_key"], *covariate_keys(setup_args)]
        # Other numbers (totals, quality scores) were measured on the source cell and would be untrue of the generated one.
        labels = [
            name
            for name, dtype in adata.obs.dtypes.items()
            if name in registered or not (name.startswith("_scvi") or is_number(dtype))
        ]
        obs = adata.obs[labels].iloc[rows].set_axis(names)
        obs[_keys.SOURCE] = adata.obs_names.to_numpy()[rows]
    return AnnData(
        X=x,
        obs=obs,
        var=adata.var.copy(),
        obsm={_keys.LATENT: np.asarray(latent, dtype=np.float32)},
        uns={_keys.PROVENANCE: provenance},
    )


def draw_rows(adata: AnnData, n_samples: int, where: dict[str, str] | None, rng: np.random.Generator) -> np.ndarray:
    """Rows of the source cells of ``n_samples`` generated ones: those with the given labels, with replacement."""
    check_n_samples(n_samples)
    return rng.choice(rows_where(adata, where), n_samples)


def draw_posterior(mean: np.ndarray, var: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One latent from each normal posterior, in single precision."""
    return (mean + np.sqrt(var) * rng.standard_normal(mean.shape)).astype(np.float32)


def rows_where(adata: AnnData, where: dict[str, str] | None, name: str = "where") -> np.ndarray:
    """Rows of the cells with these labels, which an argument of that name gave; of all cells without it."""
    check_labels(where, name)
    keep = np.ones(adata.n_obs, dtype=bool)
    for key, level in (where or {}).items():
        check_level(adata, key, level)
        keep &= has_level(adata.obs[key], level)
    if not keep.any():
        raise ValueError(f"no cell has the labels {where}; loosen {name}=")
    return np.flatnonzero(keep)


def check_level(adata: AnnData, key: str, level: object) -> None:
    """Refuse a label that no cell has."""
    check_obs_keys(adata, [key])
    if not has_level(adata.obs[key], level).any():
        values = adata.obs[key].dropna().unique()
        are_numbers = is_number(values)
        levels = list(map(str, sorted(values))) if are_numbers else sorted(map(repr, values.tolist()))
        shown = ", ".join(levels[:_N_LEVELS_SHOWN])
        if len(levels) > _N_LEVELS_SHOWN:
            shown += f" and {len(levels) - _N_LEVELS_SHOWN} more"
        shown = f"{shown} and, for a prediction, numbers between them" if are_numbers else f"[{shown}]"
        raise ValueError(f"no cell has obs[{key!r}] == {level!r}; the levels are {shown}")


def has_level(column: pd.Series, level: object) -> np.ndarray:
    """Which cells have this label; those without any do not."""
    return (column == level).to_numpy(dtype=bool, na_value=False)


def check_levels(adata: AnnData, keys: Sequence[str]) -> None:
    """Refuse columns of combinations that have a single label, or nearly one for each cell."""
    for key in keys:
        levels = adata.obs[key].dropna().unique()
        if len(levels) < 2:
            only = repr(levels[0]) if len(levels) else "missing labels"
            raise ValueError(f"obs[{key!r}] has {only} only; give keys with two or more labels each")
        if 2 * len(levels) > adata.n_obs:
            raise ValueError(
                f"obs[{key!r}] has {len(levels)} values in {adata.n_obs} cells, which are no labels; give keys whose labels "
                "several cells have"
            )


def is_between(adata: AnnData, key: str, level: object) -> bool:
    """Whether a label is a number that no cell has, but some have smaller and some larger ones."""
    check_obs_keys(adata, [key])
    values = adata.obs[key]
    if not is_number(values) or not isinstance(level, Real):
        return False
    return values.min() < level < values.max() and not (values == level).any()
