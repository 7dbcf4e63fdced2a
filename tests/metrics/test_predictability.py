import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, pearsonr

from scmichigan.metrics import dci, sap
from scmichigan.metrics._predictability import _concentration


def frame(truth):
    return pd.DataFrame(truth, columns=[f"f{i}" for i in range(truth.shape[1])])


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).permutation(np.mgrid[:3, :3, :45].reshape(3, -1)[:2].T)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (np.eye(3), 1),
        (np.full((4, 3), 0.2), 0),
        ([[0.75, 0.25]], 1 - (0.75 * np.log2(4 / 3) + 0.25 * 2)),
        # A row that is all in one place and weighs 3, and one that is spread and weighs 1.
        ([[3.0, 0.0], [0.5, 0.5]], 0.75),
        ([[1.0, 0.0], [0.0, 0.0]], 1),
        (np.zeros((2, 2)), 0),
    ],
)
def test_concentration_has_its_closed_form(weights, expected):
    assert _concentration(np.array(weights)) == pytest.approx(expected, abs=1e-9)


def test_dci_of_a_latent_for_each_factor_is_perfect(truth):
    found = dci(np.column_stack([truth, np.zeros(len(truth))]), frame(truth), n_trees=5)
    assert (found.disentanglement, found.completeness, found.informativeness) == pytest.approx((1, 1, 1), abs=1e-6)
    np.testing.assert_allclose(found.importance, np.eye(3)[:, :2], atol=1e-6)
    assert list(found.importance.columns) == ["f0", "f1"]
    assert "importance" not in repr(found)


def test_dci_of_copies_is_disentangled_but_not_complete(truth):
    found = dci(np.hstack([truth, truth]), frame(truth), n_trees=20)
    assert found.disentanglement == pytest.approx(1, abs=1e-6)
    assert found.informativeness == 1
    # Two of four latents share each factor: 1 - log 2 / log 4 if they do so alike, more if not.
    assert 0.5 <= found.completeness < 0.7


def test_dci_of_a_rotation_is_informative_alone(truth):
    a, b = truth.T
    found = dci(np.column_stack([a + b, a - b]), frame(truth), n_trees=20)
    assert found.informativeness == 1
    assert found.disentanglement < 0.1
    assert found.completeness < 0.1


def test_dci_of_noise_is_a_guess(truth):
    noise = np.random.default_rng(1).normal(size=(len(truth), 3))
    found = dci(noise, frame(truth), n_trees=10)
    # 2 factors x 81 held-out cells: four standard errors. Importances are equal but for chance.
    assert found.informativeness == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 162))
    assert max(found.disentanglement, found.completeness) < 0.1


def test_dci_of_constant_latents_is_nothing():
    table = pd.DataFrame({"a": [0, 0, 0, 1] * 25, "b": [0, 1] * 50})
    found = dci(np.ones((100, 2)), table, n_trees=2)
    assert (found.disentanglement, found.completeness) == (0, 0)
    # The most common values: 3 of 4, and either of 2, of which 20 cells hold out 10 each.
    assert found.informativeness == pytest.approx((0.75 + 0.5) / 2)


def test_dci_uses_no_more_cells_than_asked_for_and_minds_the_seed(truth):
    code = truth + np.random.default_rng(2).normal(size=truth.shape)
    first, same, other = (dci(code, frame(truth), n_trees=2, n_cells=100, seed=s).importance for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, same)
    assert not first.equals(other)


def test_rare_values_are_split_or_left_out():
    table = pd.DataFrame({"a": ["x"] * 20 + ["y"] * 2 + ["alone"], "b": ([0, 1] * 12)[:23]})
    code = np.column_stack([table["a"] != "x", table["b"]]) + 0.0
    assert dci(code, table, n_trees=2).informativeness > 0.8
    assert 0 <= sap(code, table) <= 1


def test_sap_of_continuous_factors_is_the_gap_of_squared_correlations():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 300))
    mean = np.column_stack([a + 0.3 * b, b - a, np.full(300, 0.1)])
    r = np.array([[pearsonr(z, v).statistic ** 2 for v in (a, b)] for z in mean.T[:2]])
    table = pd.DataFrame({"a": a, "b": b})
    assert sap(mean, table) == pytest.approx(np.abs(r[0] - r[1]).mean())
    table.loc[:99, "b"] = np.nan
    r[:, 1] = [pearsonr(z, b[100:]).statistic ** 2 for z in mean[100:].T[:2]]
    assert sap(mean, table) == pytest.approx(np.abs(r[0] - r[1]).mean())


@pytest.mark.parametrize("rare", [0.5, 0.1])
def test_sap_of_two_gaussians_has_its_closed_form(rare):
    rng = np.random.default_rng(4)
    n = 12_000
    code = (np.arange(n) < rare * n).astype(int)
    mean = np.column_stack([2.0 * code + rng.normal(size=n), np.zeros(n)])
    # The best line lies half-way, one standard deviation from either; a constant is right in one value of two.
    expected = norm.cdf(1) - 0.5
    n_rare, n_other = rare * n / 5, (1 - rare) * n / 5
    se = np.sqrt(norm.cdf(1) * norm.sf(1) * (1 / n_rare + 1 / n_other)) / 2
    assert sap(mean, pd.DataFrame({"a": code})) == pytest.approx(expected, abs=4 * se)


def test_sap_of_perfect_copied_rotated_and_useless_codes(truth):
    pair = frame(truth)[["f0"]].assign(f1=truth[:, 1]) % 3 > 0
    code = pair.to_numpy(float)
    # All combinations are there equally often: the other latent is a guess, but for the split.
    assert sap(code, pair) == pytest.approx(0.5, abs=0.1)
    assert sap(np.hstack([code, code]), pair) == 0
    balanced = np.random.default_rng(5).integers(2, size=(1000, 2))
    a, b = balanced.T
    assert sap(np.column_stack([a + b, a - b]), frame(balanced)) < 0.1
    # The larger of two guesses on 200 held-out cells less the other: four standard errors of a difference.
    noise = np.random.default_rng(6).normal(size=(1000, 2))
    assert sap(noise, frame(balanced)) < 4 * np.sqrt(2 * 0.25 / 200)


@pytest.mark.parametrize("metric", [dci, sap])
def test_one_latent_has_nothing_to_be_compared_with(metric, truth):
    with pytest.raises(ValueError, match="at least 1 cell and 2 latents"):
        metric(truth[:, :1], frame(truth))


def test_dci_needs_two_factors_and_a_tree(truth):
    with pytest.raises(ValueError, match="factors has 1 columns; give 2 or more"):
        dci(truth, frame(truth[:, :1]))
    with pytest.raises(ValueError, match="n_trees is 0"):
        dci(truth, frame(truth), n_trees=0)
