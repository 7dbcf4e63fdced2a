import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scmichigan.metrics import spearman_correlation, spearman_gap


def one(latent, factor):
    return spearman_correlation(np.asarray(latent, float)[:, None], pd.DataFrame({"a": factor})).to_numpy().item()


def test_a_monotonic_code_is_perfect_whatever_its_shape_and_sign():
    truth = np.random.default_rng(0).permutation(np.mgrid[:30, :30].reshape(2, -1).T)
    code = np.column_stack([-np.exp(truth[:, 0] / 5), truth[:, 1] ** 3])
    table = spearman_correlation(code, pd.DataFrame(truth, columns=["a", "b"]))
    # All combinations are there once, so that the other latent correlates with none of it.
    np.testing.assert_allclose(table, np.eye(2), atol=1e-9)
    assert spearman_gap(table) == pytest.approx(1)


def test_a_useless_and_a_doubled_latent_have_no_gap():
    rng = np.random.default_rng(1)
    truth, noise = rng.normal(size=900), rng.normal(size=(900, 3))
    factor = pd.DataFrame({"a": truth})
    # The larger of three correlations less the second, whose standard error is 1 / sqrt(900): within three.
    assert spearman_gap(spearman_correlation(noise, factor)) < 0.1
    assert spearman_gap(spearman_correlation(np.column_stack([truth, -truth]), factor)) == pytest.approx(0)


def test_what_rises_and_falls_goes_unseen():
    truth = np.arange(-50, 51)
    assert one(truth**2, truth) == pytest.approx(0, abs=1e-12)


def test_ties_keep_two_values_below_one():
    truth = np.repeat([0, 1], 500)
    # n / 2 ranks on each side: covariance n^2 / 8 over standard deviations n / 2 x n / sqrt(12).
    assert one(np.arange(1000), truth) == pytest.approx(np.sqrt(3) / 2, abs=1e-5)


@pytest.mark.parametrize(
    "as_factor",
    [
        lambda v: v,
        lambda v: v.astype(float),
        lambda v: pd.array(v, dtype="Int64"),
        lambda v: v.astype(object),
        lambda v: pd.Categorical.from_codes(v, ["c", "a", "b"], ordered=True),
    ],
    ids=["int", "float", "nullable", "object", "ordered"],
)
def test_factors_with_an_order_are_ranked(as_factor):
    rng = np.random.default_rng(2)
    value = rng.integers(3, size=80)
    latent = value + rng.normal(size=80)
    assert one(latent, as_factor(value)) == pytest.approx(abs(spearmanr(latent, value).statistic))


@pytest.mark.parametrize("pair", [[True, False], ["x", "y"], pd.Categorical(["u", "v"]), [0.5, -2.0]], ids=str)
def test_two_values_need_no_order(pair):
    rng = np.random.default_rng(3)
    code = rng.integers(2, size=80)
    latent = code + rng.normal(size=80)
    assert one(latent, pd.Series(pair)[code].array) == pytest.approx(abs(spearmanr(latent, code).statistic))


def test_missing_values_are_left_out_factor_by_factor():
    rng = np.random.default_rng(4)
    value = rng.normal(size=60)
    mean = np.column_stack([value, np.r_[np.zeros(40), rng.normal(size=20)]]) + 0.0
    gaps = pd.DataFrame({"whole": value, "part": np.r_[value[:40], np.full(20, np.nan)]})
    table = spearman_correlation(mean, gaps)
    assert table.loc["latent 2", "whole"] > 0
    # The second latent is constant where the factor is known.
    np.testing.assert_allclose(table["part"], [1, 0])


def test_values_without_an_order_are_refused_with_the_cure():
    with pytest.raises(ValueError, match="factor 'type' has 3 values without an order.*ordered categorical"):
        spearman_correlation(np.zeros((6, 2)), pd.DataFrame({"type": list("abcabc")}))


@pytest.mark.parametrize("values", [[1.0, 1.0, np.nan], [np.nan] * 3, ["x"] * 3, pd.Categorical(["x", "x", None])])
def test_a_constant_factor_is_refused(values):
    with pytest.raises(ValueError, match="factor 'a' has (0 different values|1 different value);"):
        one(np.arange(3), values)


def test_a_gap_needs_two_latents():
    with pytest.raises(ValueError, match="correlation has 1 latents.*at least 2 latents"):
        spearman_gap(pd.DataFrame({"a": [0.5]}))
