"""The registered cells of a model: their expression, covariates and labels, and AnnData of cells like them.

Legend: n cells, g genes and proteins, m modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scmichigan import _keys
from scmichigan._arrays import dense, unit_of
from scmichigan._checks import all_obs, check_n_samples, is_number, rows_where
from scmichigan._compat import manager_of

from ._expression import describe, have_fractions
from ._modalities import add_proteins, in_modalities

_COUNTS = (REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.PROTEIN_EXP_KEY)
_COVARIATES = (REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.CAT_COVS_KEY, REGISTRY_KEYS.CONT_COVS_KEY)
_LARGEST_ROUNDING = 0.01
_N_CELLS_LOOKED_AT = 1000

Unit = tuple[np.ndarray, np.ndarray]
"""What is subtracted from continuous covariates, and what they are divided by."""


class RegisteredCells:
    """Cells that a setup has registered.

    ``unit`` gives the unit that a model's networks see continuous covariates in; by default it is that of these cells, in
    which they have a mean of 0 and a variance of 1.
    """

    @classmethod
    def of(cls, model: BaseModelClass, adata: AnnData | MuData | None = None) -> RegisteredCells:
        """The registered cells of a model; those of ``adata``, which is registered like them where it is new."""
        return cls(model.adata_manager if adata is None else manager_of(model, adata), model.module.inputs.unit)

    def __init__(self, manager: AnnDataManager, unit: Callable[[], Unit] | None = None) -> None:
        self.manager = manager
        self.setup_args: dict[str, Any] = manager.registry["setup_args"]
        self.are_counts = self.setup_args.get("expression", "counts") == "counts"  # from a MuData they always are
        self.target_sum: float = self.setup_args["target_sum"]
        self._unit = unit

    @property
    def adata(self) -> AnnData | MuData:
        """The cells as they were registered."""
        return self.manager.adata

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.adata.n_obs

    @property
    def n_proteins(self) -> int:
        """Number of proteins that were registered beside the genes."""
        return self.manager.summary_stats.get("n_proteins", 0)

    @property
    def n_features(self) -> int:
        """Number of genes and proteins."""
        return self.manager.summary_stats.n_vars + self.n_proteins

    @property
    def is_sparse(self) -> bool:
        """Whether the registered expression is sparse."""
        return sp.issparse(self.manager.get_from_registry(REGISTRY_KEYS.X_KEY))

    def describe(self) -> str:
        """What was taken as expression, in words."""
        return describe(self.setup_args)

    def format(self) -> dict[str, Any]:
        """What is registered of each cell, as fields of :class:`~scmichigan.module.CellFormat`."""
        has_categories = REGISTRY_KEYS.CAT_COVS_KEY in self.manager.data_registry
        several = self.manager.get_state_registry(REGISTRY_KEYS.CAT_COVS_KEY).n_cats_per_key if has_categories else ()
        return {
            "counts": self.are_counts,
            "has_totals": self.setup_args["size_factor_key"] is not None,
            "target_sum": self.target_sum,
            "n_proteins": self.n_proteins,
            "n_batch": self.manager.summary_stats.get("n_batch", 1),
            "n_cats_per_cov": tuple(several),
            "n_continuous_cov": self.manager.summary_stats.get("n_extra_continuous_covs", 0),
        }

    def arrays(
        self, keys: Sequence[str] = (*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY, *_COVARIATES)
    ) -> dict[str, np.ndarray | sp.spmatrix]:
        """Registered data by tensor name, one row a cell; what was not registered is left out."""
        arrays = {}
        for key in keys:
            if key not in self.manager.data_registry:
                continue
            data = self.manager.get_from_registry(key)
            if isinstance(data, pd.DataFrame):
                data = data.to_numpy()
            if not sp.issparse(data):
                data = np.asarray(data)
                data = data[:, None] if data.ndim == 1 else data
            if key in _COUNTS:
                self._check_still_counts(data)
            arrays[key] = data
        return arrays

    def _check_still_counts(self, x: np.ndarray | sp.spmatrix) -> None:
        """Refuse registered counts that were normalised in place since, as is easily done; the first cells tell."""
        first = x.tocsr()[:_N_CELLS_LOOKED_AT].data if sp.issparse(x) else x[:_N_CELLS_LOOKED_AT]
        if self.are_counts and not np.array_equal(first, np.round(first)):
            raise ValueError(have_fractions(self.setup_args))

    # Expression

    def counts(self) -> np.ndarray | sp.csr_matrix:
        """Counts of genes and proteins, shape ``(n_cells, n_features)``."""
        return _side_by_side([x.tocsr() if sp.issparse(x) else x for x in self.arrays(_COUNTS).values()])

    def totals(self) -> np.ndarray:
        """Total counts of each cell in each modality, registered or sums, shape ``(n_cells, n_modalities)``."""
        arrays = self.arrays((*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY))
        of_rna = arrays.pop(REGISTRY_KEYS.SIZE_FACTOR_KEY, None)
        totals = [
            x.sum(axis=1) if of_rna is None or name != REGISTRY_KEYS.X_KEY else of_rna for name, x in arrays.items()
        ]
        return np.stack([np.ravel(total) for total in totals], axis=1).astype(np.float64)

    def expression(self, rows: np.ndarray | None = None) -> np.ndarray | sp.csr_matrix:
        """Log-normalised expression of all cells or of some rows, a copy; sparse stays sparse."""
        return _side_by_side(self.expression_by_modality(rows))

    def expression_by_modality(self, rows: np.ndarray | None = None) -> list[np.ndarray | sp.csr_matrix]:
        """The same of the genes and, where they are registered, of the proteins."""
        arrays = self.arrays((*_COUNTS, REGISTRY_KEYS.SIZE_FACTOR_KEY))
        if rows is not None:
            arrays = {name: array[rows] for name, array in arrays.items()}
        x = arrays[REGISTRY_KEYS.X_KEY]
        if not self.are_counts:
            return [sp.csr_matrix(x.tocsr().astype(np.float32)) if sp.issparse(x) else np.array(x, dtype=np.float32)]
        factors = arrays.get(REGISTRY_KEYS.SIZE_FACTOR_KEY), None
        counts = (arrays[key] for key in _COUNTS if key in arrays)
        return [self._normalized(x, factor) for x, factor in zip(counts, factors, strict=False)]

    def _normalized(self, x: np.ndarray | sp.spmatrix, totals: np.ndarray | None) -> np.ndarray | sp.csr_matrix:
        totals = np.asarray(x.sum(axis=1)).reshape(-1, 1) if totals is None else totals
        scale = (self.target_sum / totals).astype(np.float32)
        if sp.issparse(x):
            # A csr_matrix, not the csr_array that diags_array makes: scanpy 1.11 takes only the former.
            return sp.csr_matrix(sp.diags_array(scale.ravel()).dot(x.tocsr().astype(np.float32)).tocsr().log1p())
        return np.log1p(x * scale, dtype=np.float32)

    def observed(self) -> np.ndarray | sp.csr_matrix | tuple[np.ndarray | sp.csr_matrix, ...]:
        """Log-normalised expression of the genes; with proteins, that of genes and of proteins."""
        parts = self.expression_by_modality()
        return parts[0] if len(parts) == 1 else tuple(parts)

    def log_normalize(self, counts: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalise other counts as the registered ones are; also what by: the given totals of the RNA, or sums."""
        sums = np.stack([np.maximum(x.sum(axis=1), 1.0) for x in self.split(counts)], axis=1)
        if self.setup_args["size_factor_key"] is not None:
            sums[:, 0] = totals[:, 0]
        scale = self.by_feature(self.target_sum / sums)
        return np.log1p(scale * counts).astype(np.float32), sums

    def expected(self, rates: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Expected counts of cells of these totals; rates are those of cells of the target sum."""
        return rates * self.by_feature(totals / self.target_sum)

    def by_feature(self, totals: np.ndarray) -> np.ndarray:
        """Totals of each modality as columns for its features; a single one stays a single column."""
        if totals.shape[1] == 1:
            return totals
        return np.repeat(totals, [self.n_features - self.n_proteins, self.n_proteins], axis=1)

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Columns of each modality: the genes and, where there are any, the proteins."""
        return [x[:, : -self.n_proteins], x[:, -self.n_proteins :]] if self.n_proteins else [x]

    # Covariates

    def numbers_unit(self) -> Unit:
        """Mean and standard deviation of each continuous covariate; refused where single precision loses them."""
        numbers = self.arrays((REGISTRY_KEYS.CONT_COVS_KEY,)).get(REGISTRY_KEYS.CONT_COVS_KEY)
        if numbers is None:
            return np.zeros(0), np.ones(0)
        numbers = np.asarray(numbers, dtype=np.float64)
        mean, deviation = unit_of(numbers)
        lost = np.abs(numbers - numbers.astype(np.float32)).max(axis=0) > _LARGEST_ROUNDING * deviation
        if lost.any():
            k = int(np.argmax(lost))
            key = self.setup_args["continuous_covariate_keys"][k]
            raise ValueError(
                f"obs[{key!r}] has the mean {mean[k]:.6g} and the standard deviation {deviation[k]:.3g}, of which single "
                "precision leaves too little: subtract the mean first, or take another unit"
            )
        return mean, deviation

    def batches(self) -> list[Any]:
        """Names of the batches, in the order of their columns."""
        return list(self.manager.get_state_registry(REGISTRY_KEYS.BATCH_KEY).categorical_mapping)

    def covariates(self, rows: np.ndarray) -> np.ndarray:
        """Columns of batch and covariates of some cells, one-hot for categories, shape ``(n_rows, n_columns)``."""
        arrays = {name: np.asarray(array[rows], np.float32) for name, array in self.arrays(_COVARIATES).items()}
        levels = self.format()
        codes = arrays.get(REGISTRY_KEYS.BATCH_KEY, np.zeros((len(rows), 1)))
        if REGISTRY_KEYS.CAT_COVS_KEY in arrays:
            codes = np.hstack([codes, arrays[REGISTRY_KEYS.CAT_COVS_KEY]])
        n_levels = (levels["n_batch"], *levels["n_cats_per_cov"])
        columns = [
            np.eye(n, dtype=np.float32)[code.astype(int)] for code, n in zip(codes.T, n_levels, strict=True) if n > 1
        ]
        if REGISTRY_KEYS.CONT_COVS_KEY in arrays:
            mean, deviation = (self._unit or self.numbers_unit)()
            columns.append(
                (arrays[REGISTRY_KEYS.CONT_COVS_KEY] - mean.astype(np.float32)) / deviation.astype(np.float32)
            )
        return np.hstack(columns) if columns else np.zeros((len(rows), 0), dtype=np.float32)

    # Labels

    @property
    def labelled(self) -> AnnData:
        """AnnData with the labels and genes of the cells; of a MuData the columns of all obs, and the genes of the RNA."""
        if isinstance(self.adata, AnnData):
            return self.adata
        return AnnData(obs=all_obs(self.adata), var=self.adata[self.setup_args["modalities"]["rna_layer"]].var)

    def rows_where(self, labels: dict[str, object] | None, name: str = "labels") -> np.ndarray:
        """Rows of the cells with these labels, which an argument of that name gave; of all cells without it."""
        return rows_where(self.labelled, labels, name)

    def sample_rows(
        self, n_samples: int, labels: dict[str, object] | None, rng: np.random.Generator, name: str = "labels"
    ) -> np.ndarray:
        """Rows of the source cells of ``n_samples`` generated ones: those with the given labels, with replacement."""
        check_n_samples(n_samples)
        return rng.choice(self.rows_where(labels, name), n_samples)

    # Generated cells

    def generated(
        self,
        values: np.ndarray,
        totals: np.ndarray | None = None,
        *,
        rows: np.ndarray | None,
        latent: np.ndarray | None,
        provenance: dict[str, Any],
        covariates_of: np.ndarray | None = None,
    ) -> AnnData:
        """AnnData of generated cells.

        Values are counts or, where there are no totals (of each modality), log-normalised expression. Cells with source
        ``rows`` get the labels and covariates of these; others the batch and covariates of ``covariates_of`` alone.
        """
        counts = None
        if totals is not None:
            counts = self.split(np.asarray(values, dtype=np.float32))
            values, totals = self.log_normalize(values, totals)
        x, *proteins = self.split(values)
        labelled = self.labelled
        cells = AnnData(
            X=x,
            obs=self._obs(labelled, len(x), rows, covariates_of),
            var=labelled.var.copy(),
            obsm={} if latent is None else {_keys.LATENT: np.asarray(latent, dtype=np.float32)},
            uns={_keys.PROVENANCE: provenance},
        )
        if counts is not None:
            cells.layers[_keys.COUNTS] = sp.csr_matrix(counts[0])
            cells.obs[self.setup_args["size_factor_key"] or _keys.TOTAL_COUNTS] = totals[:, 0]
        if proteins:
            add_proteins(cells, self.adata, self.setup_args, *proteins, *(counts or ())[1:])
        return cells

    def _obs(
        self, labelled: AnnData, n_samples: int, rows: np.ndarray | None, covariates_of: np.ndarray | None
    ) -> pd.DataFrame:
        names = [f"generated_{i}" for i in range(n_samples)]
        covariates = _covariate_keys(self.setup_args)
        if rows is None:
            obs = pd.DataFrame(index=names)
            for key in covariates if covariates_of is not None else ():
                obs[key] = labelled.obs[key].iloc[covariates_of].array
            return obs
        registered = [self.setup_args["labels_key"], *covariates]
        # Other numbers (totals, quality scores) were measured on the source cell and would be untrue of the generated one.
        labels = [
            name
            for name, dtype in labelled.obs.dtypes.items()
            if name in registered or not (name.startswith("_scvi") or is_number(dtype))
        ]
        obs = labelled.obs[labels].iloc[rows].set_axis(names)
        obs[_keys.SOURCE] = labelled.obs_names.to_numpy()[rows]
        return obs

    def as_registered(self, cells: AnnData) -> AnnData | MuData:
        """Generated cells in the form in which the real ones were registered."""
        return cells if isinstance(self.adata, AnnData) else in_modalities(cells, self.adata, self.setup_args)


def _side_by_side(modalities: Sequence[np.ndarray | sp.spmatrix]) -> np.ndarray | sp.csr_matrix:
    """Columns of all modalities; sparse where the first is."""
    first, *others = modalities
    if not others:
        return first
    return sp.hstack(modalities, format="csr") if sp.issparse(first) else np.hstack([first, *map(dense, others)])


def _covariate_keys(setup_args: dict[str, Any]) -> list[str]:
    """Columns of obs that expression depends on beside the latent."""
    several = [setup_args.get(name) or [] for name in ("categorical_covariate_keys", "continuous_covariate_keys")]
    return [*filter(None, [setup_args.get("batch_key")]), *several[0], *several[1]]
