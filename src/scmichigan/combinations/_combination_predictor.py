"""Predictions of unseen combinations from nothing but cells and their labels."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan._checks import check_anndata, check_labels, check_levels, check_obs_keys

from ._arithmetic import observed_combinations
from ._confidence import keys_and_table
from ._methods import Method
from ._predictor import Predictor
from ._registration import fit_covariate_effects, register_cells


class CombinationPredictor:
    """Predicts the cells of combinations of labels that were not measured, such as a drug in a cell type.

    There is nothing to train: predictions are arithmetic on the cells of the combinations that were measured.

    Parameters
    ----------
    adata
        Cells x genes. It is not changed; its matrices are shared, not copied.
    keys
        Two or more columns of ``adata.obs`` whose labels make a combination, such as ``["cell_type", "condition"]``.
    layer
        Layer with the expression; ``None`` for ``adata.X``.
    batch_key, categorical_covariate_keys, continuous_covariate_keys
        Columns of ``adata.obs`` whose effect on expression is no effect of the labels. What they add is found by least
        squares within combinations, taken off before the arithmetic, and given back to the predicted cells, which have the
        covariates of their source cells.
    size_factor_key
        Column of ``adata.obs`` with the total counts of each cell, as they were before genes were selected; without it,
        the sum over the genes. Not used for log-normalised expression.
    protein_expression_obsm_key
        Key of ``adata.obsm`` with protein counts, which are predicted, too. Their size factor is their sum.
    expression, target_sum
        ``"counts"`` are normalised to ``log1p(target_sum * counts / total)``, ``"log_normalized"`` values are taken as they
        are, ``"auto"`` takes integers for counts.

    Raises
    ------
    KeyError, ValueError
        If a column, layer or key does not exist, a key has a single label or nearly one for each cell, the expression is
        NaN, infinite, negative, empty or not what was declared, a size factor is no total, or a covariate is missing.

    Examples
    --------
    >>> predictor = mg.CombinationPredictor(adata, ["cell_type", "condition"], size_factor_key="total_counts")
    >>> predictor.missing()
    >>> cells = predictor.predict({"cell_type": "B cells", "condition": "stim"})
    """

    def __init__(
        self,
        adata: AnnData,
        keys: Sequence[str],
        *,
        layer: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        protein_expression_obsm_key: str | None = None,
        expression: Literal["auto", "counts", "log_normalized"] = "auto",
        target_sum: float = 1e4,
    ) -> None:
        check_anndata(adata=adata)
        if isinstance(keys, str) or len(keys) < 2:
            raise ValueError(f"keys is {keys!r}; give a list of two or more obs keys")
        check_obs_keys(adata.obs, keys)
        check_levels(adata, keys)
        self.keys = list(keys)
        self._cells = register_cells(
            adata,
            layer=layer,
            expression=expression,
            target_sum=target_sum,
            batch_key=batch_key,
            size_factor_key=size_factor_key,
            categorical_covariate_keys=categorical_covariate_keys,
            continuous_covariate_keys=continuous_covariate_keys,
            protein_expression_obsm_key=protein_expression_obsm_key,
        )
        effects = fit_covariate_effects(self._cells, observed_combinations(adata.obs, self.keys))
        name, makes_counts = type(self).__name__, self._cells.are_counts
        self._predictor = Predictor(self._cells, name=name, covariate_effects=effects, makes_counts=makes_counts)

    def __repr__(self) -> str:
        obs = self._cells.adata.obs
        n_possible = np.prod([obs[key].nunique() for key in self.keys])
        n_seen = len(observed_combinations(obs, self.keys))
        size = f"{self._cells.n_cells} cells x {self._cells.adata.n_vars} genes, {self._cells.describe()}"
        return f"CombinationPredictor on {size}\n{n_seen} of {n_possible} combinations of {self.keys} were seen"

    def predict(
        self,
        labels: dict[str, object],
        *,
        method: str | Method = "kriging",
        along: str | None = None,
        references: Sequence[object] | None = None,
        n_samples: int | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Predict the cells of a combination of labels that was not measured.

        Each predicted cell starts from a cell of a reference: a measured combination that differs from the target in one
        label. It is moved by the difference that this label makes in other contexts, which are the labels of the other keys.

        Parameters
        ----------
        labels
            The combination to predict (the target), one label for each key: ``{"cell_type": "B cells", "condition":
            "stim"}``. A number, such as a dose, may lie between two that were seen: the mean is then interpolated linearly
            between those at both, measured or predicted. Store logarithms of doses where ratios matter.
        method
            Name of one of :data:`METHODS`, or a :class:`Method` of your own. ``"kriging"`` predicts the mean by the best
            linear unbiased prediction (see the notes), ``"additive"`` adds the plain mean difference over all contexts; both
            make cells of measured ones. ``"kriging_generator"`` and ``"paper"`` (the published form) have the same two means,
            of latents, and make cells with a trained generator: only models that have one take them, such as MichiGAN.
        along
            The key whose label is changed: with ``"condition"``, control B cells become stimulated. By default the one
            that makes the smallest difference, so that cells are moved least.
        references
            Labels of ``along`` to start from; all that can be used by default.
        n_samples
            Number of cells; by default as many as the references have. These contribute in proportion to their weights
            (``"kriging"``) or to their numbers of cells.
        seed
            Random seed.

        Returns
        -------
        AnnData with log-normalised expression in X and, where counts are given, counts in ``layers["counts"]``, of the size
        factors of the source cells. In obs: the labels of the target, those of the source cell that are no numbers,
        ``"michigan_reference"``, and the names of the source cell and its partner. In ``uns["michigan"]``: how the cells were
        made, with the weight of each measured combination in the predicted mean. Proteins are in obsm.

        Raises
        ------
        KeyError, ValueError
            If a label does not exist (a number outside the range of those seen, too), no reference can be used, the
            method is unknown or takes a generator, or given weights are not those of contexts.

        Warns
        -----
        UserWarning
            If cells have the combination already: they are left out of the arithmetic. If cells have no label. If a
            reference (or, for other methods than kriging, a context) has fewer than 10 cells.

        Notes
        -----
        The best linear unbiased prediction takes the mean of a combination for a sum of three parts: of its context, of its
        label in all contexts, and of its label in this context. The last one has the covariance of Brownian motion over the
        distances between the means of contexts and of labels. The variances of both effects of labels are estimated from the
        observed means, less their sampling noise, and the mean is predicted by universal kriging: similar contexts count
        more, noisy differences less.

        Cells are made of two measured ones of the same sequencing depth: the source cell, and a partner that has the
        target's label in another context. Each gene is taken from the one whose mean has to be moved less. Negative values
        are removed without changing the mean of any gene, and counts are sampled that keep each value on average.

        References
        ----------
        Yu and Welch 2021, "Latent space vector arithmetic"; Henderson 1975, "Best linear unbiased estimation and
        prediction under a selection model"; Cressie 1993, "Statistics for spatial data", section 3.4.

        Examples
        --------
        >>> only_t_cells = dataclasses.replace(METHODS["additive"], weights={"T cells": 1})
        >>> predictor.predict({"cell_type": "B cells", "condition": "stim"}, method=only_t_cells)
        """
        check_labels(labels, "labels")
        if labels is None or set(labels) != set(self.keys):
            raise ValueError(f"labels is {labels}; give one label for each of {self.keys}")
        labels = {key: labels[key] for key in self.keys}
        return self._predictor.predict(
            labels, method=method, along=along, references=references, n_samples=n_samples, seed=seed
        )

    def missing(self, *, enable_progress_bar: bool = True) -> pd.DataFrame:
        r"""Rank the combinations of labels that no cell has by the expected error of their predictions.

        Each measured combination is predicted from all others in turn, and the errors of these predictions tell how large
        those of the missing ones will be. ``enable_progress_bar`` says whether to show one.

        Returns
        -------
        One row for each missing combination, the smallest expected error first. Columns: the keys; "along", the key whose
        label is changed (empty where the combination cannot be predicted); "n_references" and "n_source_cells", what
        :meth:`predict` starts from; "predicted_change", how far cells are moved, as the Euclidean distance of mean
        log-normalised expression; "expected_error", the same distance between the predicted and the real mean (NaN where no
        combination that differs in one label can be predicted from the others, as in a table of two by two).

        Raises
        ------
        ValueError
            If no combination is missing.

        Notes
        -----
        The expected squared error is

        .. math:: h \operatorname{median}_o \frac{\|\hat\mu_o - \mu_o\|^2}{h_o}, \quad
            h^{-1} = \operatorname{mean}_c d_c^{-2}

        with the observed combinations o that differ from the missing one in one label, and the distances :math:`d_c` of
        its context from those that it is predicted from. It holds for ``method="kriging"``, and is a typical error: half of
        the observed ones are larger. An effect that only one context shows cannot be foreseen. Where the error is not below
        "predicted_change", little more is known of the combination than what it starts from.

        Examples
        --------
        >>> table = predictor.missing()
        >>> cells = predictor.predict_all(table[table["expected_error"] < table["predicted_change"]])
        """
        return self._predictor.missing(self.keys, enable_progress_bar=enable_progress_bar)

    def predict_all(
        self,
        combinations: Sequence[Mapping[str, object]] | pd.DataFrame | None = None,
        *,
        n_samples: int = 500,
        seed: int = 0,
        enable_progress_bar: bool = True,
    ) -> AnnData:
        """Predict the cells of all combinations of labels that no cell has, or of some of them, by kriging.

        Parameters
        ----------
        combinations
            Rows of the table of :meth:`missing`, or a list of combinations as :meth:`predict` takes them; ``None`` for all
            missing ones that can be predicted. Of hundreds take some at a time, and write each part to a file.
        n_samples, seed, enable_progress_bar
            Number of cells of each combination, random seed, and whether to show a progress bar.

        Returns
        -------
        AnnData of all predicted cells, in the order of the table, each as from :meth:`predict`; sparse where the measured
        expression is. The table is in ``uns["michigan"]["combinations"]``.

        Raises
        ------
        KeyError, ValueError
            If there is no combination, none can be predicted, a label does not exist, or cells have the combination.

        Warns
        -----
        UserWarning
            If a reference has fewer than 10 cells, or some of the combinations cannot be predicted: they are left out.
        """
        combinations = self.keys if combinations is None else combinations
        given, _ = keys_and_table(combinations)
        if set(given) != set(self.keys):
            raise ValueError(f"combinations have labels of {given}; give one label for each of {self.keys}")
        return self._predictor.predict_all(
            combinations, n_samples=n_samples, seed=seed, enable_progress_bar=enable_progress_bar
        )
