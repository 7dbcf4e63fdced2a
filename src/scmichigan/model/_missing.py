"""All combinations of labels that no cell was seen with, at once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from rich.progress import track
from scvi import REGISTRY_KEYS

from scmichigan import _keys
from scmichigan._checks import check_obs_keys

from ._arithmetic import NEEDED, Labels, plan_arithmetic
from ._combinations import CombinationMixin, warn_of_few
from ._common import check_level, check_levels, check_n_samples, check_trained, registered_arrays
from ._confidence import error_rate, expected_error, is_predictable, missing_combinations

_COLUMNS = ("along", "n_references", "n_source_cells", "predicted_change", "expected_error")


class MissingMixin(CombinationMixin):
    """The table of combinations that were never seen; a base only."""

    def missing_combinations(self, keys: Sequence[str], *, enable_progress_bar: bool = True) -> pd.DataFrame:
        r"""Rank the combinations of labels that no cell has by how far their predictions are expected to be off.

        It takes no cell of what is predicted: each observed combination is predicted from all others in turn, and how
        far these predictions are off says how far those of the missing ones will be.

        Parameters
        ----------
        keys
            Two or more obs keys.
        enable_progress_bar
            Whether to show how far it is.

        Returns
        -------
        A row for each missing combination, the most trusted one first. Beside the keys it has the columns "along" (the key
        whose label is changed, empty where nothing can predict the combination), "n_references" and "n_source_cells" (what
        :meth:`predict_combination` starts from), "predicted_change" (how far cells are moved from there, as the Euclidean
        distance of mean log-normalised expression) and "expected_error" (the same distance, of the predicted mean from the
        real one; NaN where no combination that differs in one label can be predicted from the others, as in a table of two
        by two).

        Raises
        ------
        RuntimeError
            If the model is untrained.
        KeyError, ValueError
            If there are fewer than two keys, one does not exist or has a single label, or no combination is missing.

        Warns
        -----
        UserWarning
            If cells have no label: they are left out.

        Notes
        -----
        The expected squared error is

        .. math:: h \operatorname{median}_o \frac{\|\hat\mu_o - \mu_o\|^2}{h_o}, \quad
            h^{-1} = \operatorname{mean}_c d_c^{-2}

        with the observed combinations o that differ from the missing one in one label, and the distances :math:`d_c` of
        its context from those that it is predicted from: errors are in proportion to how far the contexts are, and the
        observed ones say how large they are, sampling noise included. It holds for the default arithmetic of
        :meth:`predict_combination`, it is a typical error (half of the observed ones are larger), and it tells contexts and
        data sets apart rather than treatments: an effect that one context alone shows cannot be foreseen. Where it is not
        below "predicted_change", little more is known of the combination than what it starts from.

        Examples
        --------
        >>> table = model.missing_combinations(["cell_type", "condition"])
        >>> cells = model.predict_all(table[table["expected_error"] < table["predicted_change"]])
        """
        check_trained(self)
        if isinstance(keys, str):
            raise ValueError(f"keys is {keys!r}; give a list of two or more obs keys")
        keys = list(keys)
        return self._ranked(keys, self._table(keys), enable_progress_bar)

    def predict_all(
        self,
        combinations: Sequence[str] | Sequence[Mapping[str, object]] | pd.DataFrame,
        *,
        n_samples: int = 500,
        seed: int = 0,
        enable_progress_bar: bool = True,
    ) -> AnnData | MuData:
        """Predict the cells of all combinations of labels that no cell has, or of some.

        Parameters
        ----------
        combinations
            Two or more obs keys: all missing combinations of their labels that can be predicted. Or rows of the table of
            :meth:`missing_combinations`, such as those that are trusted; or a list of targets as
            :meth:`predict_combination` takes them. A thousand combinations are a lot of cells: take some rows at a time, and
            write each part to a file.
        n_samples
            Cells of each combination.
        seed
            Of all draws.
        enable_progress_bar
            Whether to show how far it is.

        Returns
        -------
        AnnData of all predicted cells, in the order of the table, each as from :meth:`predict_combination`; sparse where
        the registered expression is. The table is in ``uns["michigan"]["combinations"]``.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        KeyError, ValueError
            As in :meth:`missing_combinations`, and if there is no row, no combination can be predicted, a label does not
            exist, or cells were seen with a combination.

        Warns
        -----
        UserWarning
            If a reference has fewer than 10 cells, or nothing can predict some of the combinations: they are left out.

        Examples
        --------
        >>> cells = model.predict_all(["cell_type", "condition"])
        >>> cells.uns["michigan"]["combinations"]
        """
        check_trained(self)
        check_n_samples(n_samples)
        given = _rows(combinations)
        keys = [key for key in (combinations if given is None else given) if key not in _COLUMNS]
        groups = self._table(keys)
        table = self._ranked(keys, groups, enable_progress_bar) if given is None else given
        table = self._predictable(table, keys, groups, warn=given is not None)
        mean_of, posterior = self._means_of(groups), self._posterior()
        sparse = sp.issparse(registered_arrays(self.adata_manager, (REGISTRY_KEYS.X_KEY,))[REGISTRY_KEYS.X_KEY])
        parts, sources = [], []
        targets = list(table[keys].itertuples(index=False, name=None))
        for i, target in enumerate(track(targets, "combinations", disable=not enable_progress_bar)):
            plan = plan_arithmetic(groups, keys, target, mean_of)
            sources += [reference.labels for reference in plan.references]
            cells = self._predict(
                plan, groups, posterior, residual="source", n_samples=n_samples, rng=np.random.default_rng(seed)
            )
            cells.X = sp.csr_matrix(cells.X) if sparse else cells.X
            cells.obs_names = [f"predicted_{i * n_samples + j}" for j in range(n_samples)]
            parts.append(cells)
        warn_of_few(groups, list(dict.fromkeys(sources)))
        predicted = anndata.concat(parts, merge="same")
        predicted.uns[_keys.PROVENANCE] = {
            "model": type(self).__name__,
            "keys": keys,
            "combinations": table.reset_index(drop=True),
            "weights": "similarity",
            "residual": "source",
            "seed": seed,
            "latent": self._latent_source(),
        }
        return self._as_registered(predicted)

    def _predictable(
        self, table: pd.DataFrame, keys: list[str], groups: dict[Labels, np.ndarray], *, warn: bool
    ) -> pd.DataFrame:
        """Rows that can be predicted; where others were asked for, with a warning."""
        labelled = self._labelled
        for key in keys:
            for level in table[key].unique():
                check_level(labelled, key, level)
        targets = list(table[keys].itertuples(index=False, name=None))
        _check_unseen(targets, keys, groups)
        can = np.array([is_predictable(groups, keys, target) for target in targets])
        if not can.any():
            raise ValueError(f"none of the {len(can)} combinations of {keys} can be predicted: {NEEDED}")
        if warn and not can.all():
            first = dict(zip(keys, targets[int(np.argmin(can))], strict=True))
            warnings.warn(
                f"{int((~can).sum())} of {len(can)} combinations are left out, the first is {first}: {NEEDED}",
                UserWarning,
                stacklevel=3,
            )
        return table[can]

    def _table(self, keys: list[str]) -> dict[Labels, np.ndarray]:
        """Rows of each observed combination of two or more keys with two or more labels."""
        if len(keys) < 2:
            raise ValueError(f"keys are {keys}; combinations need two or more obs keys")
        labelled = self._labelled
        check_obs_keys(labelled, keys)
        check_levels(labelled, keys)
        return self._observed(keys, stacklevel=4)

    def _ranked(self, keys: list[str], groups: dict[Labels, np.ndarray], enable_progress_bar: bool) -> pd.DataFrame:
        missing = missing_combinations(groups)
        if not missing:
            raise ValueError(f"cells were seen with all {len(groups)} combinations of {keys}; there is none to predict")
        mean_of, show = self._means_of(groups), {"disable": not enable_progress_bar}
        rates = {c: error_rate(groups, keys, c, mean_of) for c in track(list(groups), "observed combinations", **show)}
        rows = []
        for target in track(missing, "missing combinations", **show):
            row = ("", 0, 0, np.nan, np.nan)
            if is_predictable(groups, keys, target):
                plan = plan_arithmetic(groups, keys, target, mean_of)
                n_cells = sum(len(reference.rows) for reference in plan.references)
                row = (plan.key, len(plan.references), n_cells, plan.change, expected_error(plan, rates))
            rows.append((*target, *row))
        table = pd.DataFrame(rows, columns=[*keys, *_COLUMNS])
        return table.sort_values(["expected_error", "predicted_change"], kind="stable", ignore_index=True)


def _rows(combinations: Sequence[str] | Sequence[Mapping[str, object]] | pd.DataFrame) -> pd.DataFrame | None:
    """A table of the combinations that are asked for; None where all are."""
    if isinstance(combinations, str | Mapping):
        raise ValueError(
            f"combinations is {combinations!r}; give a list of obs keys or of targets, or a table of these"
        )
    if not isinstance(combinations, pd.DataFrame):
        if not any(isinstance(c, Mapping) for c in combinations):
            return None
        combinations = pd.DataFrame(list(combinations))
    if combinations.empty:
        raise ValueError(
            "combinations is a table without rows; take some of missing_combinations(): where none has an expected error "
            "below its change, none can be trusted"
        )
    return combinations


def _check_unseen(targets: list[Labels], keys: list[str], groups: dict[Labels, np.ndarray]) -> None:
    for target in targets:
        if target in groups:
            raise ValueError(
                f"{len(groups[target])} of the model's cells have the labels {dict(zip(keys, target, strict=True))}; "
                "give combinations that no cell has, such as rows of missing_combinations()"
            )
