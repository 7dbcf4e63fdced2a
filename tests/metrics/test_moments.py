import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmichigan.metrics import gene_agreement, gene_correlation_agreement, gene_statistics


def _counts(seed, n_cells=300, n_genes=8):
    return np.log1p(np.random.default_rng(seed).poisson(np.arange(n_genes) / 2 + 0.1, (n_cells, n_genes)))


def _mixed(seed, n_cells=2000, n_genes=12):
    """Cells whose genes are correlated, with the same correlations for every seed."""
    mixing = np.random.default_rng(99).normal(size=(n_genes, n_genes))
    return np.random.default_rng(seed).normal(size=(n_cells, n_genes)) @ mixing


def test_statistics_are_numpys():
    real, generated = _counts(0), _counts(1, 50)
    table = gene_statistics(real, sparse.csr_matrix(generated))
    for side, cells in (("real", real), ("generated", generated)):
        np.testing.assert_allclose(table[f"mean_{side}"], cells.mean(0))
        np.testing.assert_allclose(table[f"variance_{side}"], cells.var(0))
        np.testing.assert_allclose(table[f"zero_fraction_{side}"], (cells == 0).mean(0))
    assert list(table.index) == list(range(8))


def test_stored_zeros_are_zeros():
    stored = sparse.csr_matrix(([0.0, 2.0], ([0, 1], [0, 0])), shape=(2, 1))
    assert gene_statistics(stored, stored).loc[0, "zero_fraction_real"] == 0.5


@pytest.mark.parametrize("annotated", ["real", "generated"])
def test_statistics_bear_the_names_of_genes(annotated):
    sides = {"real": np.ones((3, 2)), "generated": np.ones((4, 2))}
    sides[annotated] = AnnData(sides[annotated], var=pd.DataFrame(index=["ISG15", "CD3D"]))
    assert list(gene_statistics(**sides).index) == ["ISG15", "CD3D"]


def test_agreement_of_the_same_cells_is_perfect():
    agreement = gene_agreement(_counts(0), _counts(0)[::-1])
    assert list(agreement[["r2_mean", "r2_variance", "r2_zero_fraction"]]) == pytest.approx([1, 1, 1])
    assert agreement["zero_fraction_real"] == pytest.approx((_counts(0) == 0).mean())
    assert agreement["zero_fraction_generated"] == pytest.approx(agreement["zero_fraction_real"])


def test_agreement_of_one_mean_cell_is_perfect_in_the_means_only():
    real = _counts(0)
    agreement = gene_agreement(real, real.mean(0, keepdims=True))
    assert agreement["r2_mean"] == pytest.approx(1)
    variance = real.var(0)
    assert agreement["r2_variance"] == pytest.approx(
        1 - np.sum(variance**2) / np.sum((variance - variance.mean()) ** 2)
    )
    assert agreement["zero_fraction_generated"] == 0


def test_agreement_has_no_fit():
    real = _counts(0)
    # the mean over genes scores 0, and what a correlation would call perfect is worse
    assert gene_agreement(real, np.full((1, 8), real.mean()))["r2_mean"] == pytest.approx(0)
    assert gene_agreement(real, 3 * real + 5)["r2_mean"] < 0


def test_agreement_of_cells_without_zeros_is_defined():
    dense = np.abs(_mixed(0, 50)) + 1
    assert gene_agreement(dense, dense)["r2_zero_fraction"] == 1
    assert gene_agreement(dense, np.zeros_like(dense))["r2_zero_fraction"] == 0


def test_agreement_needs_two_genes():
    with pytest.raises(ValueError, match="real has 1 gene: give 2 or more"):
        gene_agreement(np.ones((3, 1)), np.ones((3, 1)))


def test_correlations_are_numpys():
    real, generated = _mixed(0, 40), _mixed(1, 30) + _mixed(2, 30) ** 2
    pairs = [np.corrcoef(cells.T)[np.triu_indices(12, 1)] for cells in (real, generated)]
    assert gene_correlation_agreement(real, generated) == pytest.approx(np.corrcoef(*pairs)[0, 1])


def test_correlations_of_one_source_agree_and_of_independent_genes_do_not():
    real, other = _mixed(0), _mixed(1)
    assert gene_correlation_agreement(real, real[::-1].copy()) == pytest.approx(1)
    # Both sides have errors of about 1 / sqrt(2000) = 0.02 beside correlations of about 1 / sqrt(12) = 0.3.
    assert gene_correlation_agreement(real, other) > 0.98
    shuffled = np.random.default_rng(3).permuted(other, axis=0)  # every gene has its values still
    # 66 pairs without a relation: a standard deviation of 1 / sqrt(65) = 0.12; 4 of them.
    assert abs(gene_correlation_agreement(real, shuffled)) < 0.5
    assert gene_correlation_agreement(real, 5 * other + 7) == pytest.approx(gene_correlation_agreement(real, other))


def test_correlations_are_of_the_genes_that_vary_most():
    real, generated = _mixed(0), _mixed(1)
    noise = np.random.default_rng(4).normal(size=(2000, 5)) * 1e-3
    with_noise = np.hstack([noise, real]), np.hstack([noise[::-1], generated])
    expected = gene_correlation_agreement(real, generated)
    assert gene_correlation_agreement(*with_noise, n_genes=12) == pytest.approx(expected)


def test_constant_genes_are_left_out_of_the_real_and_count_against_the_generated():
    real, generated = _mixed(0), _mixed(1)
    expected = gene_correlation_agreement(real[:, 2:], generated[:, 2:])
    constant = real.copy()
    constant[:, :2] = [0, 0.1]
    assert gene_correlation_agreement(constant, generated) == pytest.approx(expected)
    collapsed = generated.copy()
    collapsed[:, :6] = 0.1
    pairs = np.triu_indices(12, 1)
    of_generated = np.where(np.maximum(*pairs) >= 6, 1, 0) * np.where(np.minimum(*pairs) >= 6, 1, 0)
    of_generated = of_generated * np.corrcoef(generated.T)[pairs]
    found = gene_correlation_agreement(real, collapsed)
    assert found == pytest.approx(np.corrcoef(np.corrcoef(real.T)[pairs], of_generated)[0, 1])
    assert found < 0.9


@pytest.mark.parametrize(
    ("real", "generated", "n_genes", "message"),
    [
        (_mixed(0, 9), np.ones((9, 12)), 500, "all pairs of genes have the correlation 0 in generated"),
        (_mixed(0, 9), _mixed(1, 1), 500, "all pairs of genes have the correlation 0 in generated"),
        (_mixed(0, 1), _mixed(1, 9), 500, "0 genes vary in real: give cells in which 3 or more do"),
        (_mixed(0, 9)[:, :2], _mixed(1, 9)[:, :2], 500, "2 genes vary in real"),
        (_mixed(0, 9), _mixed(1, 9), 2, "n_genes is 2: give 3 or more"),
    ],
)
def test_correlations_refuse(real, generated, n_genes, message):
    with pytest.raises(ValueError, match=message):
        gene_correlation_agreement(real, generated, n_genes=n_genes)
