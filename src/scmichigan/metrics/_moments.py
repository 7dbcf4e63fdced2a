"""Moments and correlations of genes. Legend: n cells, g genes, p pairs of genes, or proteins."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from scmichigan._arrays import Matrix, dense, mean_g, variance_g
from scmichigan._cells import Cells, gene_names, matrices
from scmichigan._checks import check_at_least

from ._metric import MODALITIES, PREDICTION, REALISM, Comparison, Metric, of_sides, once

_STATISTICS = ("mean", "variance", "zero_fraction")


def gene_statistics(real: Cells, generated: Cells) -> pd.DataFrame:
    """Mean, variance and fraction of zeros of each gene, in real and in generated cells (as in :func:`e_distance`).

    One row a gene, under its name where one side is an AnnData. Columns ``mean_real``, ``variance_real`` (divided by
    the number of cells), ``zero_fraction_real``, from 0 to 1, and the same of the generated cells. Only exact zeros
    count: a generator that makes none, as one that ends in a softplus, has a zero fraction of 0.
    """
    columns = {}
    for side, matrix in zip(("real", "generated"), matrices({"real": real, "generated": generated}), strict=True):
        columns |= {
            f"mean_{side}": mean_g(matrix),
            f"variance_{side}": variance_g(matrix),
            f"zero_fraction_{side}": 1 - np.asarray((matrix != 0).sum(axis=0)).ravel() / matrix.shape[0],
        }
    return pd.DataFrame(columns, index=gene_names(real, generated))


def gene_agreement(real: Cells, generated: Cells) -> pd.Series:
    r"""Agreement over genes of means, variances and fractions of zeros (R2); 1 is best.

    .. math:: R^2 = 1 - \sum_g (r_g - s_g)^2 / \sum_g (r_g - \bar{r})^2

    for each statistic r of the real and s of the generated cells: the coefficient of determination, without a fit.
    (Some publications call the squared correlation so, which ignores any scale and shift.) Cells are as in
    :func:`e_distance`, with the same errors, and 2 genes or more.

    Returns
    -------
    ``r2_mean``, ``r2_variance`` and ``r2_zero_fraction``: 1 is best; 0 is as good as the same value for all genes;
    negative is worse. Then ``zero_fraction_real`` and ``zero_fraction_generated``, over all genes and cells.

    Notes
    -----
    A few highly expressed genes decide ``r2_mean``, and most genes are alike in all cells: control cells in place of
    perturbed ones often reach 0.9. Compare a prediction with the value of :func:`no_change`. Where the statistic is the
    same for all real genes, the value is 1 if the generated cells agree, else 0.
    """
    table = gene_statistics(real, generated)
    if len(table) < 2:
        raise ValueError("real has 1 gene: give 2 or more, agreement is over genes")
    r2 = {f"r2_{name}": r2_score(table[f"{name}_real"], table[f"{name}_generated"]) for name in _STATISTICS}
    overall = {name: table[name].mean() for name in ("zero_fraction_real", "zero_fraction_generated")}
    return pd.Series(r2 | overall)


def gene_correlation_agreement(real: Cells, generated: Cells, *, n_genes: int = 500) -> float:
    """Agreement of the gene-gene correlations of generated and of real cells; 1 is best.

    Pearson correlation over pairs of genes, from -1 to 1. It sees neither means nor variances, nor whether all
    correlations are too weak by the same factor. Few cells lower the value even of a perfect generator: compare with
    that of :func:`split_half`. If all correlations of one side are the same, as of one cell repeated, it is not
    defined, which is an error.

    Parameters
    ----------
    real, generated
        As in :func:`e_distance`, with the same errors; 2 cells or more of each.
    n_genes
        Genes of highest variance in the real cells that are compared, at most. Genes that are constant in the real
        cells are left out; 3 or more must vary. Those constant in the generated cells only count as correlated with
        none there.
    """
    check_at_least(3, n_genes=n_genes)
    real_ng, generated_ng = matrices({"real": real, "generated": generated})
    chosen = np.argsort(-variance_g(real_ng), kind="stable")[:n_genes]
    real_ng, generated_ng = _columns(real_ng, chosen), _columns(generated_ng, chosen)
    varies_g = np.ptp(real_ng, axis=0) > 0
    if varies_g.sum() < 3:
        raise ValueError(f"{varies_g.sum()} genes vary in real: give cells in which 3 or more do")
    pairs = [_correlations(cells[:, varies_g]) for cells in (real_ng, generated_ng)]
    return _correlation_of(*pairs, "genes")


def cross_correlation_agreement(
    real: tuple[Cells, Cells], generated: tuple[Cells, Cells], *, n_genes: int = 500
) -> float:
    """Agreement of the correlations between features of two modalities in generated and real cells; 1 is best.

    Pearson correlation over pairs of features, from -1 to 1; cells whose modalities do not belong together are near 0,
    however good each modality is by itself.

    Parameters
    ----------
    real, generated
        Both modalities of the same cells in the same order, such as genes and proteins.
    n_genes
        As in :func:`gene_correlation_agreement`, with the same errors, of each modality.
    """
    check_at_least(1, n_genes=n_genes)
    modalities = [matrices({"real": one, "generated": other}) for one, other in zip(real, generated, strict=True)]
    scaled = []
    for cells in modalities:
        chosen = np.argsort(-variance_g(cells[0]), kind="stable")[:n_genes]
        scaled.append([StandardScaler().fit_transform(_columns(x, chosen)) for x in cells])
    pairs = []
    for name, x_ng, y_np in zip(("real", "generated"), *scaled, strict=True):
        if len(x_ng) != len(y_np):
            raise ValueError(
                f"the modalities of {name} have {len(x_ng)} and {len(y_np)} cells: give those of the same cells"
            )
        pairs.append((x_ng.T @ y_np / len(x_ng)).ravel())
    return _correlation_of(*pairs, "features")


def _correlation_of(real_p: np.ndarray, generated_p: np.ndarray, noun: str) -> float:
    """Correlation over pairs, of correlations that are not all the same."""
    for name, correlation_p in {"real": real_p, "generated": generated_p}.items():
        if np.ptp(correlation_p) == 0:
            raise ValueError(
                f"all pairs of {noun} have the correlation {correlation_p[0]:.3g} in {name}, so that none is defined "
                f"over pairs: check that the cells of {name} differ from each other"
            )
    return float(np.corrcoef(real_p, generated_p)[0, 1])


def _columns(matrix: Matrix, genes: np.ndarray) -> np.ndarray:
    return dense(matrix[:, genes]).astype(np.float64)


def _correlations(cells_ng: np.ndarray) -> np.ndarray:
    """Correlation of each pair of genes; 0 where one is constant."""
    # The scaler leaves constant genes at 0.
    scaled_ng = StandardScaler().fit_transform(cells_ng)
    correlation_gg = scaled_ng.T @ scaled_ng / len(scaled_ng)
    return correlation_gg[np.triu_indices(len(correlation_gg), k=1)]


@once
def _agreement(column: Comparison) -> pd.Series:
    """Agreement of a column; nothing for a single gene."""
    if column.reference_ng.shape[1] < 2:
        return pd.Series(dtype=float)
    return gene_agreement(column.reference_ng, column.cells_ng)


def _row(name: str, value: str, low: float, best: Any, source: str, *questions: str) -> Metric:
    compute = lambda column: _agreement(column).get(value, np.nan)
    return Metric(name, questions, gene_agreement, compute, low, 1, best, source)


_R2 = (-np.inf, 1, "coefficient of determination", REALISM)
_ZEROS = (0, lambda column: np.mean(column.reference_ng == 0), "fraction of exact zeros", REALISM)
_OF_GENES, _OF_MODALITIES = of_sides(gene_correlation_agreement), of_sides(cross_correlation_agreement)
_OF_PAIRS = (-1, 1, 1, "Pearson over pairs")
ROWS = (
    _row("R2 of means", "r2_mean", *_R2, PREDICTION),
    _row("R2 of variances", "r2_variance", *_R2, PREDICTION),
    _row("R2 of zero fractions", "r2_zero_fraction", *_R2),
    _row("zero fraction", "zero_fraction_generated", *_ZEROS),
    Metric("gene-gene correlation", (REALISM,), gene_correlation_agreement, _OF_GENES, *_OF_PAIRS),
    Metric("correlations across modalities", (MODALITIES,), cross_correlation_agreement, _OF_MODALITIES, *_OF_PAIRS),
)
