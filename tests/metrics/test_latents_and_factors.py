"""What all metrics of latents and factors have in common: what they take, refuse and leave alone."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmichigan.metrics import beta_vae_score, dci, factor_vae_score, mutual_information, sap, spearman_correlation

METRICS = {
    "mutual_information": mutual_information,
    "spearman_correlation": spearman_correlation,
    "factor_vae_score": partial(factor_vae_score, n_votes=100),
    "beta_vae_score": partial(beta_vae_score, n_points=100),
    "dci": lambda *cells, **options: dci(*cells, n_trees=2, **options).importance,
    "sap": sap,
}
every = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
BY_VALUE = {name: metric for name, metric in METRICS.items() if name != "spearman_correlation"}
by_value = pytest.mark.parametrize("metric", BY_VALUE.values(), ids=BY_VALUE)


@pytest.fixture
def mean():
    truth = np.column_stack([np.arange(60) % 2, np.arange(60) // 30, np.zeros(60)])
    return truth + np.random.default_rng(0).normal(scale=0.5, size=(60, 3))


@pytest.fixture
def factors():
    return pd.DataFrame({"a": np.arange(60) % 2, "b": pd.Categorical(np.where(np.arange(60) < 30, "x", "y"))})


@every
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, f: (z[:, 0], f), r"mean has shape \(60,\)"),
        (lambda z, f: (z[:0], f[:0]), r"mean has shape \(0, 3\)"),
        (lambda z, f: (z[:, :0], f), r"mean has shape \(60, 0\)"),
        (lambda z, f: (np.where(z > 1, np.nan, z), f), "not finite"),
        (lambda z, f: (z[:-1], f), "one row a cell"),
        (lambda z, f: (z, f["a"]), "factors is a Series; give a DataFrame"),
        (lambda z, f: (z, f[[]]), "factors has 0 columns"),
        (lambda z, f: (z, pd.concat([f, f], axis=1)), "the column 'a' more than once"),
        (lambda z, f: (z, f.assign(a="same")), "factor 'a' has 1 different value"),
        (lambda z, f: (z, f.assign(a=np.nan)), "factor 'a' has 0 different values"),
        (lambda z, f: (z, f.assign(a=np.where(f["a"] > 0, np.inf, z[:, 0]))), "factor 'a' has infinite values"),
    ],
    ids=lambda change: change if isinstance(change, str) else "",
)
def test_bad_input_is_named(metric, change, message, mean, factors):
    with pytest.raises(ValueError, match=message):
        metric(*change(mean, factors))


@by_value
def test_as_many_values_as_cells_are_no_categories(metric, mean, factors):
    with pytest.raises(ValueError, match="factor 'id' has 60 different values in 60 cells.*as floating point"):
        metric(mean, factors.assign(id=np.arange(60)))


@every
def test_containers_are_the_same_and_left_alone(metric, mean, factors):
    z = mean.astype(np.float32)
    # One block of floating point, which pandas may hand out without a copy.
    factors = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 2)), columns=["size", "time"]).join(factors)
    factors = factors[["size", "time"]] if metric is spearman_correlation else factors
    before = z.copy(), factors.copy()
    z.setflags(write=False)
    expected = np.asarray(metric(z, factors))
    for same in (sparse.csr_array(z), pd.DataFrame(z), np.asfortranarray(z), np.repeat(z, 2, axis=0)[::2]):
        np.testing.assert_array_equal(np.asarray(metric(same, factors)), expected)
    np.testing.assert_array_equal(z, before[0])
    pd.testing.assert_frame_equal(factors, before[1])


@every
@pytest.mark.parametrize("dtype", ["bool", "boolean", "Int64", "category", object, "string"])
def test_types_of_two_values_are_the_same(metric, dtype, mean, factors):
    changed = factors.assign(a=factors["a"].astype(dtype))
    np.testing.assert_array_equal(np.asarray(metric(mean, changed)), np.asarray(metric(mean, factors)))


@every
def test_labels_of_rows_and_unused_categories_do_not_matter(metric, mean, factors):
    changed = factors.set_axis(["same"] * 60).assign(b=lambda f: f["b"].cat.add_categories("unused"))
    np.testing.assert_array_equal(np.asarray(metric(mean, changed)), np.asarray(metric(mean, factors)))


@every
def test_missing_values_are_cells_left_out(metric, mean, factors):
    more = factors.iloc[np.arange(69) % 60].reset_index(drop=True).astype({"a": "Int64"})
    more[60:] = None
    found = metric(np.concatenate([mean, np.full((9, 3), mean.mean())]), more)
    # Nothing is the same to the last digit, as latents are divided by deviations over all cells.
    np.testing.assert_allclose(np.asarray(found), np.asarray(metric(mean, factors)), atol=0.25)


@pytest.mark.parametrize("name", [name for name in BY_VALUE if name != "sap"])
def test_floating_point_is_cut_unless_it_has_few_values(name, mean, factors):
    metric = METRICS[name]
    as_float = factors.assign(a=factors["a"].astype(float))
    np.testing.assert_array_equal(np.asarray(metric(mean, as_float)), np.asarray(metric(mean, factors)))
    value = mean[:, 0]
    cut = factors.assign(a=pd.qcut(value, 3, labels=False))
    np.testing.assert_array_equal(
        np.asarray(metric(mean, factors.assign(a=value), n_quantiles=3)), np.asarray(metric(mean, cut))
    )
    # What most cells have is a bin of its own where it is the least, and leaves no other where it is the most.
    tied = np.where(np.arange(60) < 50, 0.0, 1 + np.abs(value))
    np.testing.assert_array_equal(
        np.asarray(metric(mean, factors.assign(a=tied))), np.asarray(metric(mean, factors.assign(a=tied > 0)))
    )
    with pytest.raises(
        ValueError, match="4 quantiles of factor 'a' coincide, as most .* largest value, 0; give categories"
    ):
        metric(mean, factors.assign(a=-tied))


@every
def test_two_cells_of_each_value_are_enough(metric, mean):
    few = pd.DataFrame({"a": [0, 0, 1, 1], "b": list("xyxy")})
    assert np.isfinite(np.asarray(metric(mean[:4], few))).all()
