"""Each part of the Splat model beside its closed form, and beside what the original made of it.

Where many numbers are compared, 5 standard errors are allowed: in 2,000 comparisons of this file, chance exceeds that
with probability 1e-3.
"""

import numpy as np
import pytest
from scipy import stats

from scmichigan.datasets import SplatterParameters
from scmichigan.datasets._splatter import (
    bridges,
    dropout_probabilities,
    natural_spline,
    rates,
    signed_factors,
    step_probabilities,
)
from scmichigan.datasets._splatter_parameters import path_order

FACTORS = {  # selected, down, loc, scale, as in the reference
    "de_paper": (0.5, 0.5, 0.01, 0.5),
    "de_default": (0.1, 0.5, 0.1, 0.4),
    "batch_default": (1, 0.5, 0.1, 0.1),
    "outlier_default": (0.05, 0, 4, 0.5),
    "down_all": (0.5, 1, 0.01, 0.5),
    "up_all": (0.5, 0, 0.01, 0.5),
    "negative_loc": (0.5, 0.5, -0.5, 0.5),
}
N_BRIDGES = 40_000
N_GENES, N_CELLS = 20_000, 20


def _factors(name):
    prob, down, loc, scale = FACTORS[name]
    rng = np.random.default_rng(0)
    return signed_factors(rng, 200_000, prob=prob, down_prob=down, loc=loc, scale=scale)


def _fraction_below(sample, quantiles, probs, n_reference):
    """Distance, in standard errors, of our fraction below the other's quantiles from what it is there.

    Fractions have binomial errors on both sides, whatever the distribution.
    """
    quantiles, probs = np.asarray(quantiles, dtype=float), np.asarray(probs)
    inner = (probs > 0) & (probs < 1)
    fraction = np.mean(sample[:, None] <= quantiles[inner], axis=0)
    return (fraction - probs[inner]) / np.sqrt(probs[inner] * (1 - probs[inner]) * (1 / sample.size + 1 / n_reference))


@pytest.mark.parametrize("name", FACTORS)
def test_factors_are_folded_normal_on_the_log_scale(name):
    prob, down, loc, scale = FACTORS[name]
    factor = _factors(name)
    log_factor = np.log(factor[factor != 1])
    n = factor.size
    assert log_factor.size == pytest.approx(n * prob, abs=5 * np.sqrt(n * prob * (1 - prob)))
    assert (factor < 1).sum() == pytest.approx(n * prob * down, abs=5 * np.sqrt(n * prob * down * (1 - prob * down)))
    folded = stats.foldnorm(abs(loc) / scale, scale=scale)
    assert stats.kstest(np.abs(log_factor), folded.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", FACTORS)
def test_factors_are_those_of_splatter(name, reference):
    components = reference("splatter_reference.json")["components"]
    real = components["getLNormFactors"][name]
    assert (real["sel.prob"], real["neg.prob"], real["fac.loc"], real["fac.scale"]) == FACTORS[name]
    factor = _factors(name)
    for key, fraction in (("frac_ne_1", np.mean(factor != 1)), ("frac_lt_1", np.mean(factor < 1))):
        assert fraction == pytest.approx(real[key], abs=5 * np.sqrt(2 * fraction * (1 - fraction) / factor.size))
    log_factor = np.log(factor[factor != 1])
    z = _fraction_below(log_factor, real["log_q"], components["quantile_probs"], real["frac_ne_1"] * real["n"])
    assert np.abs(z).max() < 5
    error = np.sqrt(2 / log_factor.size)
    assert log_factor.mean() == pytest.approx(real["log_mean"], abs=5 * error * log_factor.std())
    # the variance of a standard deviation is (kurtosis - 1) / 4n times the variance
    kurtosis = stats.kurtosis(log_factor, fisher=False)
    assert log_factor.std() == pytest.approx(
        real["log_sd"], abs=5 * error * log_factor.std() * np.sqrt((kurtosis - 1) / 4)
    )


def _spline_by_hand(knots, at):
    """Natural cubic spline through knots at 0, 1, ... from its second derivatives."""
    n = len(knots)
    system, right = np.eye(n), np.zeros(n)
    for i in range(1, n - 1):
        system[i, i - 1 : i + 2] = 1 / 6, 4 / 6, 1 / 6
        right[i] = knots[i + 1] - 2 * knots[i] + knots[i - 1]
    curvature = np.linalg.solve(system, right)
    i = np.minimum(at.astype(int), n - 2)
    b = at - i
    a = 1 - b
    line = a * knots[i] + b * knots[i + 1]
    return line + ((a**3 - a) * curvature[i] + (b**3 - b) * curvature[i + 1]) / 6


def test_spline_by_hand():
    knots = np.random.default_rng(0).normal(size=(3, 5))
    ours = natural_spline(knots, 23)
    for row, spline in zip(knots, ours, strict=True):
        np.testing.assert_allclose(spline, _spline_by_hand(row, np.linspace(0, 4, 23)), atol=1e-12)


def test_spline_is_that_of_splatter(reference):
    for real in reference("splatter_reference.json")["components"]["natural_spline"]:
        ours = natural_spline(np.array(real["knots"], dtype=float), real["n"])
        np.testing.assert_allclose(ours, real["y"], atol=1e-7)


def _bridges(start, end, sigma, n_steps):
    full = [np.full(N_BRIDGES, value) for value in (start, end, sigma)]
    return bridges(np.random.default_rng(1), *full, n_steps)


@pytest.mark.parametrize("end", [0.25, 1.0, 4.0])
def test_bridges_have_the_moments_of_splined_brownian_bridges(end):
    sigma, n_steps = 0.2, 9  # so small that no factor reaches the floor
    factors = _bridges(1.0, end, sigma, n_steps)
    np.testing.assert_allclose(factors[:, 0], 1)
    np.testing.assert_allclose(factors[:, -1], end)
    time = np.linspace(0, 1, 5)
    spline = np.stack([_spline_by_hand(unit, np.linspace(0, 4, n_steps)) for unit in np.eye(5)], axis=1)
    # E[s^2] of s uniform from 0 to S is S^2 / 3; E[s^4] is S^4 / 5, so that the kurtosis is 3 (1/5) / (1/9) = 5.4
    covariance = (np.minimum.outer(time, time) - np.outer(time, time)) * (sigma * (1 + end) / 2) ** 2 / 3
    sd = np.sqrt(np.clip(np.diag(spline @ covariance @ spline.T), 0, None))
    error = 4.5 * sd / np.sqrt(N_BRIDGES)  # 54 comparisons
    assert (np.abs(factors.mean(axis=0) - np.linspace(1, end, n_steps)) <= error + 1e-12).all()
    assert (np.abs(factors.std(axis=0) - sd) <= error * np.sqrt(4.4 / 4) + 1e-12).all()


def test_bridges_are_those_of_splatter(reference):
    components = reference("splatter_reference.json")["components"]
    for real in components["bridge"]:
        factors = _bridges(real["x"], real["y"], real["sigma.fac"], real["n"])
        inner = slice(1, -1)  # both ends are exact
        error = np.sqrt(1 / N_BRIDGES + 1 / real["reps"])
        sd = factors.std(axis=0)
        z_mean = (factors.mean(axis=0) - real["mean"])[inner] / sd[inner] / error
        kurtosis = stats.kurtosis(factors[:, inner], fisher=False)
        z_sd = (sd - real["sd"])[inner] / (sd[inner] * np.sqrt((kurtosis - 1) / 4)) / error
        assert max(np.abs(z_mean).max(), np.abs(z_sd).max()) < 5
        for t in range(1, real["n"] - 1):
            z = _fraction_below(
                factors[:, t], [real[q][t] for q in ("q05", "q50", "q95")], [0.05, 0.5, 0.95], real["reps"]
            )
            assert np.abs(z).max() < 5
        floor = np.mean(factors == 1e-6, axis=0)
        pooled = (N_BRIDGES * floor + real["reps"] * np.array(real["floor_frac"])) / (N_BRIDGES + real["reps"])
        assert (np.abs(floor - real["floor_frac"]) <= 5 * np.sqrt(pooled) * error).all()
        for end, value in ((0, real["x"]), (-1, real["y"])):
            np.testing.assert_allclose(factors[:, end], value)
    for real in components["bridge_linear"]:
        straight = bridges(np.random.default_rng(0), real["x"], real["y"], 0, real["n"])
        np.testing.assert_allclose(straight, real["values"], atol=1e-8)


def _counts(mean, df, common):
    """Counts of cells by genes, and their rates."""
    rng = np.random.default_rng(2)
    factor = np.sqrt(df / rng.chisquare(df, N_GENES)) if np.isfinite(df) else np.ones(N_GENES)
    rate = rates(rng, np.full((N_CELLS, N_GENES), mean), common, factor)
    return rng.poisson(rate), rate


@pytest.mark.parametrize("common", [0.1, 0.4])
@pytest.mark.parametrize("df", [10, np.inf])
@pytest.mark.parametrize("mean", [0.05, 5, 500])
def test_counts_have_their_moments(mean, df, common):
    counts, _ = _counts(mean, df, common)
    # E[df / chi2] = df / (df - 2)
    spread = 1 if np.isinf(df) else df / (df - 2)
    variance = mean + (mean * (common + 1 / np.sqrt(mean))) ** 2 * spread
    for ours, expected in ((counts, mean), ((counts - mean) ** 2, variance)):
        of_gene = ours.mean(axis=0)  # genes are independent, cells of a gene are not
        assert of_gene.mean() == pytest.approx(expected, abs=4 * of_gene.std() / np.sqrt(N_GENES))


@pytest.mark.parametrize("mean", [0.05, 5])
def test_counts_without_variation_of_genes_are_negative_binomial(mean):
    counts, _ = _counts(mean, np.inf, 0.1)
    size = 1 / (0.1 + 1 / np.sqrt(mean)) ** 2
    largest = counts.max()
    expected = stats.nbinom.pmf(np.arange(largest + 1), size, size / (size + mean)) * counts.size
    expected[-1] += counts.size - expected.sum()
    observed = np.bincount(counts.ravel(), minlength=largest + 1)
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_a_mean_of_zero_makes_zeros():
    assert not rates(np.random.default_rng(0), np.zeros((2, 3)), 0.1, np.ones(3)).any()


def test_counts_are_those_of_splatter(reference):
    components = reference("splatter_reference.json")["components"]
    for real in components["counts_given_base_mean"]:
        mean, df, common = real["base_mean"], float(real["bcv.df"]), real["bcv.common"]
        counts, rate = _counts(mean, df, common)
        assert counts.size == real["n"]
        for key, values in (
            ("count_mean", counts),
            ("count_var", (counts - counts.mean()) ** 2),
            ("zero_frac", counts == 0),
            ("cell_mean_mean", rate),
            ("cell_mean_var", (rate - rate.mean()) ** 2),
        ):
            of_gene = values.mean(axis=0)
            error = np.sqrt(2 / N_GENES) * of_gene.std()
            assert of_gene.mean() == pytest.approx(real[key], abs=5 * error)
        # the original's variation of genes, beside its closed form
        coefficient = common + 1 / np.sqrt(mean)
        inner = np.array(components["quantile_probs"][1:-1])
        quantiles = np.array(real["bcv_q"][1:-1]) / coefficient
        if np.isinf(df):
            np.testing.assert_allclose(quantiles, 1, atol=1e-6)
        else:
            fraction = stats.chi2.sf(df / quantiles**2, df)
            assert (np.abs(fraction - inner) < 5 * np.sqrt(inner * (1 - inner) / N_GENES)).all()


def test_dropout_is_logistic_in_the_log_rate(reference):
    assert dropout_probabilities(np.exp(2.0), 2.0, -1.0) == 0.5
    for real in reference("splatter_reference.json")["components"]["logistic"]:
        ours = dropout_probabilities(np.exp(real["log_mean"]), real["x0"], real["k"])
        np.testing.assert_allclose(ours, real["p"], atol=1e-8)


def test_order_of_paths(reference):
    assert path_order([0, 1, 1]) == [1, 2, 3]
    assert path_order([3, 0, 2]) == [2, 3, 1]
    for real in reference("splatter_reference.json")["components"]["path_order"]:
        assert path_order(real["path.from"]) == real["order"]


def test_steps_are_linear_in_their_skew(reference):
    np.testing.assert_allclose(step_probabilities(0.5, 4), 0.25)
    np.testing.assert_allclose(step_probabilities(1, 5), [0.4, 0.3, 0.2, 0.1, 0])
    for real in reference("splatter_reference.json")["components"]["path_probs"]:
        np.testing.assert_allclose(step_probabilities(real["skew"], real["nSteps"]), real["probs"], atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_genes": 50.0}, "n_genes is 50.0: give whole numbers"),
        ({"batch_cells": (20.5, 20)}, r"batch_cells is \(20.5, 20\): give whole numbers"),
        ({"batch_cells": [[20, 20], [20]]}, r"batch_cells is \[\[20, 20\], \[20\]\]: give whole numbers"),
        ({"batch_cells": [[20, 20], [20, 20]]}, r"batch_cells is .*: give whole numbers"),
        ({"batch_cells": []}, r"batch_cells is \[\]: give whole numbers"),
        ({"mean_shape": (1, 2)}, r"mean_shape is \(1, 2\): give a single value"),
        ({"bcv_df": "inf"}, "bcv_df is 'inf': give numbers"),
        ({"lib_norm": "no"}, "lib_norm is 'no': give True or False"),
        ({"dropout_mid": (1, 2)}, "there are 1 for dropout_type 'none' .more are for 'batch', 'group' and 'cell'."),
        ({"n_genes": 0}, "n_genes is 0: give values above 0"),
        ({"batch_cells": (10, 0)}, r"batch_cells is \(10, 0\): give values above 0"),
        ({"mean_rate": float("nan")}, "mean_rate is nan: give finite values"),
        ({"lib_scale": -1}, "lib_scale is -1: give values of 0 or more"),
        ({"de_prob": (0.1, 1.2), "group_prob": (1, 1)}, r"de_prob is \(0.1, 1.2\): give values from 0 to 1"),
        (
            {"de_prob": (0.1, 0.2)},
            "de_prob has 2 values, there are 1 groups or paths, one for each value of group_prob",
        ),
        ({"batch_fac_loc": (0.1, 0.2)}, "batch_fac_loc has 2 values, there are 1 batches: give one value, or 1"),
        ({"group_prob": (0, 0)}, r"group_prob is \(0, 0\): give at least one"),
        ({"path_n_steps": 1}, "path_n_steps is 1: a path has a start and an end"),
        ({"dropout_type": "gene"}, "dropout_type is 'gene': give one of none, experiment, batch, group, cell"),
        ({"dropout_type": "cell", "dropout_mid": (1, 2)}, "dropout_mid has 2 values, there are 100 for dropout_type"),
        ({"path_from": 1}, r"path_from is \[1\]: paths \[1\] cannot be reached from 0"),
        ({"path_from": (0, 3, 2), "group_prob": (1, 1, 1)}, r"paths \[2, 3\] cannot be reached"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        SplatterParameters(**arguments)


def test_parameters_keep_a_copy_and_can_be_compared():
    prob = np.array([0.5, 0.5])
    parameters = SplatterParameters(group_prob=prob)
    prob[:] = -1
    assert parameters.group_prob == (0.5, 0.5)
    assert parameters == SplatterParameters(group_prob=[0.5, 0.5]) != SplatterParameters(group_prob=[0.4, 0.6])
