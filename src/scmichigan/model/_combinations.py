"""Predictions of combinations of labels that no cell was seen with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData

from scmichigan import _keys
from scmichigan._checks import check_choice

from ._arithmetic import Arithmetic, Labels, MeanOf, observed_combinations, plan_arithmetic, plan_between
from ._common import (
    check_labels,
    check_level,
    check_levels,
    check_n_samples,
    check_trained,
    covariate_columns,
    is_between,
    normalized_expression,
)
from ._transfer import draw_evenly, in_proportion, pair_by_depth, rectify_keeping_means, round_on_log_scale, take_nearer

_FEW_CELLS = 10


class CombinationMixin:
    """Latent arithmetic for a GAN that knows the latents of cells; a base only."""

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
    ) -> AnnData | MuData:
        """Predict the cells of a combination of labels that was never seen.

        Each predicted cell starts from a cell of a reference combination, which differs from the target in one label;
        its latent is moved by the difference that this label makes in other contexts (labels of the other keys).

        Parameters
        ----------
        target
            Label of each of two or more obs keys, for example ``{"cell_type": "B cells", "condition": "stim"}``. Of a key
            of numbers, such as a dose, it may lie between two that were seen: the mean is then interpolated, linearly in
            the column's unit, between those at both, each of which is observed or predicted. Doses whose ratios matter
            belong into the column as logarithms.
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
            If a key or label does not exist (a number outside the range of those seen, too), a key has a single label, no
            reference is usable, or weights are not those of contexts.

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
        keys, labels, groups, between = self._combinations(target)
        mean_of = self._means_of(groups)
        if between is None:
            arithmetic = plan_arithmetic(
                groups, keys, labels, mean_of, along=along, references=references, weights=weights
            )
        else:
            _check_between(between, along, references)
            arithmetic = plan_between(groups, keys, labels, mean_of, along=between, weights=weights)
        used = zip(arithmetic.combinations, arithmetic.weights.any(axis=0), strict=True)
        # The best linear prediction knows by itself how little a mean of few cells says.
        by_itself = isinstance(weights, str) and weights == "similarity"
        warn_of_few(
            groups, [r.labels for r in arithmetic.references] if by_itself else [c for c, counts in used if counts]
        )
        posterior = self._posterior()
        predicted = self._predict(
            arithmetic, groups, posterior, residual=residual, n_samples=n_samples, rng=np.random.default_rng(seed)
        )
        predicted.uns[_keys.PROVENANCE] |= {
            "weights": "given" if isinstance(weights, Mapping) else weights,
            "seed": seed,
        }
        stored = np.full_like(posterior[0], np.nan)
        shifts = self._latent_shifts(arithmetic, groups, posterior[0])
        for reference, shift in zip(arithmetic.references, shifts, strict=True):
            stored[reference.rows] = posterior[0][reference.rows] + shift
        self.adata.obsm[_keys.PREDICTED_LATENT] = stored
        self.adata.uns[_keys.PREDICTED_LATENT] = predicted.uns[_keys.PROVENANCE].copy()
        return self._as_registered(predicted)

    def _combinations(
        self, target: dict[str, object]
    ) -> tuple[list[str], Labels, dict[Labels, np.ndarray], str | None]:
        """Keys and labels of the target, rows of every other combination, and the key of a number between observed ones."""
        if len(target) < 2:
            raise ValueError(f"target is {target}; a combination needs the labels of two or more obs keys")
        labelled = self._labelled
        unseen = [key for key, level in target.items() if is_between(labelled, key, level)]
        if len(unseen) > 1:
            raise ValueError(
                f"no cell has obs[{unseen[1]!r}] == {target[unseen[1]]!r}, nor {target[unseen[0]]!r} of {unseen[0]!r}; "
                "one number at a time can lie between those that were seen"
            )
        for key, level in target.items():
            if key not in unseen:
                check_level(labelled, key, level)
        check_levels(labelled, list(target))
        keys, labels = list(target), tuple(target.values())
        groups = self._observed(keys, stacklevel=4)
        seen = groups.pop(labels, ())
        if len(seen):
            warnings.warn(
                f"{len(seen)} of the model's cells have the labels {target}: they are left out of the arithmetic, but "
                "the latent and the generator were fitted with them; for an honest prediction train on the others only",
                UserWarning,
                stacklevel=3,
            )
        return keys, labels, groups, next(iter(unseen), None)

    def _observed(self, keys: list[str], *, stacklevel: int) -> dict[Labels, np.ndarray]:
        """Rows of each observed combination."""
        groups = observed_combinations(self._labelled.obs, keys)
        n_missing = self.adata.n_obs - sum(map(len, groups.values()))
        if n_missing:
            warnings.warn(
                f"{n_missing} cells have no label in one of {keys}: they are left out of the arithmetic; label them, or "
                "remove them before training",
                UserWarning,
                stacklevel=stacklevel,
            )
        return groups

    def _predict(
        self,
        arithmetic: Arithmetic,
        groups: dict[Labels, np.ndarray],
        posterior: tuple[np.ndarray, np.ndarray | None],
        *,
        residual: str,
        n_samples: int | None,
        rng: np.random.Generator,
    ) -> AnnData:
        """Cells of the target."""
        chosen, shifts = arithmetic.references, self._latent_shifts(arithmetic, groups, posterior[0])
        numbers = in_proportion(n_samples or sum(len(r.rows) for r in chosen), arithmetic.shares)
        rows = np.concatenate([draw_evenly(r.rows, n, rng) for r, n in zip(chosen, numbers, strict=True)])
        start = np.repeat(np.arange(len(chosen)), numbers)
        z = (self._draw_latent(rows, rng, posterior) + shifts[start]).astype(np.float32)

        names = np.array([str(r.labels[arithmetic.position]) for r in chosen], dtype=object)
        target = dict(zip(arithmetic.keys, arithmetic.target, strict=True))
        provenance = {
            "model": type(self).__name__,
            "target": {k: str(v) for k, v in target.items()},
            "along": arithmetic.key,
            "references": list(names),
            "n_contexts": [len(r.contexts) for r in chosen],
            "combination_weights": arithmetic.table(),
            "residual": residual,
            "latent": self._latent_source(),
        }
        totals = self._totals()[rows] if self.module.makes_counts else None
        partners = None
        if residual == "source":
            values, partners = self._transfer(arithmetic, groups, rows, start, rng, exact_means=n_samples is None)
            values = rectify_keeping_means(values)
            if totals is not None:
                values = round_on_log_scale(values, self._by_feature(self.module.inputs.target_sum / totals), rng)
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

    def _latent_shifts(self, arithmetic: Arithmetic, groups: dict[Labels, np.ndarray], mean: np.ndarray) -> np.ndarray:
        """From each reference to the target, shape ``(n_references, n_latent)``."""
        return arithmetic.shifts(np.stack([mean[groups[c]].mean(axis=0) for c in arithmetic.combinations]))

    def _means_of(self, groups: dict[Labels, np.ndarray]) -> MeanOf:
        return cache(lambda labels: self._mean_expression(groups[labels]))

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
        depth = self._totals()[:, 0] if self.module.makes_counts else self._expression_sums()

        def expression(rows: np.ndarray) -> np.ndarray:
            x = normalized_expression(self.adata_manager, inputs, rows)
            x = x.toarray() if sp.issparse(x) else x
            return x - self._covariate_effects(covariate_columns(self.adata_manager, inputs, rows))

        values, partners = np.empty((len(rows), len(arithmetic.targets[0])), dtype=np.float32), rows.copy()
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


def warn_of_few(groups: dict[Labels, np.ndarray], used: Sequence[Labels]) -> None:
    """Warn of means of few cells, in the name of what calls the caller."""
    few = [f"{labels} ({len(groups[labels])})" for labels in used if len(groups[labels]) < _FEW_CELLS]
    if few:
        warnings.warn(
            f"fewer than {_FEW_CELLS} cells have the labels {', '.join(few)}: their mean is hardly known, and what starts "
            "from them repeats them; add cells, or leave them out with references= of predict_combination if there are others",
            UserWarning,
            stacklevel=3,
        )


def _check_between(between: str, along: str | None, references: Sequence[str] | None) -> None:
    if along not in (None, between):
        raise ValueError(f"along is {along!r}, but no cell has the target's number of {between!r}; leave along out")
    if references is not None:
        raise ValueError(f"references are the combinations next to the target's number of {between!r}; leave them out")
