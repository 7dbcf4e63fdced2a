"""Predictions of combinations of labels that no cell was seen with. Legend: g genes and proteins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cache

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from rich.progress import track

from scmichigan import _checks, _keys
from scmichigan.data import RegisteredCells

from ._arithmetic import Arithmetic, Groups, Labels, MeanOf, observed_combinations, plan_arithmetic, plan_between
from ._confidence import Combinations, keys_and_table, predictable_rows, rank_missing
from ._methods import METHODS, Method
from ._registration import CovariateEffects
from ._transfer import in_proportion, rectify_keeping_means, round_on_log_scale, sample_evenly, transfer

_FEW_CELLS = 10
_KRIGING = METHODS["kriging"]


@dataclass(frozen=True)
class Latents:
    """Latents of the registered cells: where they are from, posterior means and variances, ``(n_cells, n_latent)``."""

    source: str
    mean: np.ndarray
    var: np.ndarray | None = None  # without variances, means are taken for samples

    def sample(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One latent of each of these cells."""
        mean = self.mean[rows]
        if self.var is None:
            return mean
        return (mean + np.sqrt(self.var[rows]) * rng.standard_normal(mean.shape)).astype(np.float32)


Render = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""Output of a generator for latents, the rows of their source cells and random numbers, shape ``(n, n_features)``."""


@dataclass(frozen=True)
class Predictor:
    """Predicts combinations of labels from registered cells, for a model of this name.

    Parameters
    ----------
    covariate_effects
        What covariates add to expression.
    makes_counts
        Whether counts are predicted, or log-normalised expression.
    latents, render
        Latents of the cells, which are moved beside the expression, and the generator, for methods that take one.
    """

    cells: RegisteredCells
    _: KW_ONLY
    name: str
    covariate_effects: CovariateEffects
    makes_counts: bool
    latents: Latents | None = None
    render: Render | None = None

    def predict(
        self,
        labels: dict[str, object],
        *,
        method: str | Method = "kriging",
        along: str | None = None,
        references: Sequence[object] | None = None,
        n_samples: int | None = None,
        seed: int = 0,
        key_added: str = _keys.PREDICTED_LATENT,
    ) -> AnnData | MuData:
        """As in :meth:`CombinationPredictor.predict`, and with latents as in :meth:`MichiGAN.predict_combination`."""
        _checks.check_n_samples(n_samples)
        _checks.check_labels(labels, "labels")
        method = self._method(method)
        keys, target, groups, between = self._combinations(labels)
        of_target = groups, keys, target, self._means_of(groups)
        if between is None:
            arithmetic = plan_arithmetic(*of_target, along=along, references=references, weights=method.weights)
        elif along not in (None, between):
            raise ValueError(f"along is {along!r}, but no cell has the target's number of {between!r}; leave along out")
        elif references is not None:
            raise ValueError(
                f"references are the combinations next to the target's number of {between!r}; leave them out"
            )
        else:
            arithmetic = plan_between(*of_target, along=between, weights=method.weights)
        # The best linear prediction knows by itself how little a mean of few cells says.
        used = [r.labels for r in arithmetic.references]
        if method.weights != "similarity":
            used = [arithmetic.combinations[i] for i in np.flatnonzero(arithmetic.weights.any(axis=0))]
        _warn_of_few(groups, used)
        predicted = self._predict(arithmetic, groups, method, n_samples=n_samples, seed=seed)
        if self.latents is not None:
            moved = np.full_like(self.latents.mean, np.nan)
            for reference, shift in zip(
                arithmetic.references, arithmetic.shifts(self.latents.mean, groups), strict=True
            ):
                moved[reference.rows] = self.latents.mean[reference.rows] + shift
            self.cells.adata.obsm[key_added] = moved
            self.cells.adata.uns[key_added] = predicted.uns[_keys.PROVENANCE].copy()
        return self.cells.as_registered(predicted)

    def missing(self, keys: Sequence[str], *, enable_progress_bar: bool = True) -> pd.DataFrame:
        """As in :meth:`CombinationPredictor.missing`, of any two or more obs keys."""
        if isinstance(keys, str):
            raise ValueError(f"keys is {keys!r}; give a list of two or more obs keys")
        groups = self._observed(list(keys))
        return rank_missing(groups, list(keys), self._means_of(groups), enable_progress_bar=enable_progress_bar)

    def predict_all(
        self, combinations: Combinations, *, n_samples: int = 500, seed: int = 0, enable_progress_bar: bool = True
    ) -> AnnData | MuData:
        """As in :meth:`CombinationPredictor.predict_all`; a list of two or more obs keys takes all of their missing ones."""
        _checks.check_n_samples(n_samples)
        keys, given = keys_and_table(combinations)
        groups, table = self._observed(keys), given
        mean_of = self._means_of(groups)
        if given is None:
            table = rank_missing(groups, keys, mean_of, enable_progress_bar=enable_progress_bar)
        table = predictable_rows(table, keys, groups, self.cells.labelled, warns=given is not None)
        parts, sources = [], []
        targets = list(table[keys].itertuples(index=False, name=None))
        for i, target in enumerate(track(targets, "combinations", disable=not enable_progress_bar)):
            arithmetic = plan_arithmetic(groups, keys, target, mean_of)
            sources += [reference.labels for reference in arithmetic.references]
            cells = self._predict(arithmetic, groups, _KRIGING, n_samples=n_samples, seed=seed)
            cells.X = sp.csr_matrix(cells.X) if self.cells.is_sparse else cells.X
            cells.obs_names = [f"predicted_{i * n_samples + j}" for j in range(n_samples)]
            parts.append(cells)
        _warn_of_few(groups, list(dict.fromkeys(sources)))
        predicted = anndata.concat(parts, merge="same")
        what = {"keys": keys, "combinations": table.reset_index(drop=True)}
        predicted.uns[_keys.PROVENANCE] = self._provenance(_KRIGING, seed, what)
        return self.cells.as_registered(predicted)

    # Which combinations there are

    def _method(self, method: str | Method) -> Method:
        """The method of that name, or the given one; an error where it is none, or takes a generator and there is none."""
        if not isinstance(method, Method):
            if not isinstance(method, str) or method not in METHODS:
                raise ValueError(f"method is {method!r}; choose from {list(METHODS)}, or give a Method")
            method = METHODS[method]
        if method.cells == "generator" and self.render is None:
            raise ValueError(
                f"method {method.name!r} makes cells with a trained generator, and {self.name} has none: train a MichiGAN and "
                f"call its predict_combination with this method, or take method={_KRIGING.name!r}, which needs none"
            )
        return method

    def _combinations(self, labels: dict[str, object]) -> tuple[list[str], Labels, Groups, str | None]:
        """Keys and labels of the target, rows of every other combination, and the key of a number between observed ones."""
        if len(labels) < 2:
            raise ValueError(f"labels are {labels}; a combination needs the labels of two or more obs keys")
        labelled = self.cells.labelled
        unseen = [key for key, level in labels.items() if _checks.is_between(labelled, key, level)]
        if len(unseen) > 1:
            raise ValueError(
                f"no cell has obs[{unseen[1]!r}] == {labels[unseen[1]]!r}, nor {labels[unseen[0]]!r} of {unseen[0]!r}; "
                "one number at a time can lie between those that were seen"
            )
        for key, level in labels.items():
            if key not in unseen:
                _checks.check_level(labelled, key, level)
        keys, target = list(labels), tuple(labels.values())
        groups = self._observed(keys)
        seen = groups.pop(target, ())
        if len(seen):
            what, cure = "genes may be chosen", "give"
            if self.latents:
                what, cure = "the latent and the generator were fitted", "train on"
            _checks.warn(
                f"{len(seen)} of the cells have the labels {labels}: they are left out of the arithmetic, but {what} "
                f"with them; for an honest prediction {cure} the others only"
            )
        return keys, target, groups, next(iter(unseen), None)

    def _observed(self, keys: list[str]) -> dict[Labels, np.ndarray]:
        """Rows of each observed combination of two or more keys with two or more labels."""
        if len(keys) < 2:
            raise ValueError(f"keys are {keys}; combinations need two or more obs keys")
        labelled = self.cells.labelled
        _checks.check_obs_keys(labelled.obs, keys)
        _checks.check_levels(labelled, keys)
        groups = observed_combinations(labelled.obs, keys)
        n_missing = self.cells.n_cells - sum(map(len, groups.values()))
        if n_missing:
            _checks.warn(
                f"{n_missing} cells have no label in one of {keys}: they are left out of the arithmetic; label them, or "
                "remove them first"
            )
        return groups

    # Cells of one combination

    def _predict(
        self, arithmetic: Arithmetic, groups: Groups, method: Method, *, n_samples: int | None, seed: int
    ) -> AnnData:
        chosen, rng = arithmetic.references, np.random.default_rng(seed)
        numbers = in_proportion(n_samples or sum(len(r.rows) for r in chosen), arithmetic.proportions)
        rows = np.concatenate([sample_evenly(r.rows, n, rng) for r, n in zip(chosen, numbers, strict=True)])
        start = np.repeat(np.arange(len(chosen)), numbers)
        z = None
        if self.latents is not None:
            shifts = arithmetic.shifts(self.latents.mean, groups)
            z = (self.latents.sample(rows, rng) + shifts[start]).astype(np.float32)
        totals, partners = self.cells.totals()[rows] if self.makes_counts else None, None
        if method.cells == "real":
            values, partners = transfer(
                arithmetic,
                groups,
                rows,
                start,
                expression=self._corrected_expression,
                depth=np.ravel(self.cells.expression().sum(axis=1)) if totals is None else self.cells.totals()[:, 0],
                exact_means=n_samples is None,
                rng=rng,
            )
            values = rectify_keeping_means(values + self.covariate_effects(rows, False))
            if totals is not None:
                values = round_on_log_scale(values, self.cells.by_feature(self.cells.target_sum / totals), rng)
        else:
            values = self.render(z, rows, rng)
            if totals is not None:
                values = rng.poisson(self.cells.expected(values, totals))

        names = np.array([str(r.labels[arithmetic.position]) for r in chosen], dtype=object)
        labels = dict(zip(arithmetic.keys, arithmetic.target, strict=True))
        what = {
            "target": {k: str(v) for k, v in labels.items()},
            "along": arithmetic.key,
            "references": list(names),
            "n_contexts": [len(r.contexts) for r in chosen],
            "combination_weights": arithmetic.table(),
        }
        provenance = self._provenance(method, seed, what)
        predicted = self.cells.generated(values, totals, rows=rows, latent=z, provenance=provenance)
        for k, label in labels.items():
            predicted.obs[k] = label
        predicted.obs[_keys.REFERENCE] = names[start]
        if partners is not None:
            predicted.obs[_keys.PARTNER] = self.cells.adata.obs_names.to_numpy()[partners]
        return predicted

    def _provenance(self, method: Method, seed: int, what: dict[str, object]) -> dict[str, object]:
        name = method.name + (", given weights" if isinstance(method.weights, Mapping) else "")
        latent = {} if self.latents is None else {"latent": self.latents.source}
        return {"model": self.name, **what, "method": name, **latent, "seed": seed}

    def _corrected_expression(self, rows: np.ndarray) -> np.ndarray:
        """Dense expression of cells without what covariates add."""
        x = self.cells.expression(rows)
        return (x.toarray() if sp.issparse(x) else x) - self.covariate_effects(rows, False)

    def _means_of(self, groups: Groups) -> MeanOf:
        """Mean expression of combinations without what covariates add, and the summed squared deviations."""

        @cache
        def mean_of(labels: Labels) -> tuple[np.ndarray, float]:
            rows = groups[labels]
            x = self.cells.expression(rows)
            mean_g = np.ravel(x.mean(axis=0, dtype=np.float64))
            squares = (x.multiply(x) if sp.issparse(x) else x**2).sum(dtype=np.float64)
            return mean_g - self.covariate_effects(rows, True), max(0.0, float(squares - len(rows) * mean_g @ mean_g))

        return mean_of


def _warn_of_few(groups: Groups, used: Sequence[Labels]) -> None:
    """Warn of means of few cells."""
    few = [f"{labels} ({len(groups[labels])})" for labels in used if len(groups[labels]) < _FEW_CELLS]
    if few:
        _checks.warn(
            f"fewer than {_FEW_CELLS} cells have the labels {', '.join(few)}: their mean is hardly known, and what starts "
            "from them repeats them; add cells, or leave them out with references= if there are others"
        )
