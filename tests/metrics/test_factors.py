import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from scmichigan.metrics import infer_factors


def _cells(seed, n_cells=80, n_genes=5):
    return np.random.default_rng(seed).normal(size=(n_cells, n_genes))


REAL, GENERATED = _cells(0), _cells(1, 30)
FACTORS = pd.DataFrame(
    {
        "step": np.arange(80),
        "size": np.random.default_rng(2).lognormal(size=80),
        "path": np.random.default_rng(3).choice(["one", "two", "three"], 80),
        "batch": pd.Categorical(np.tile(["x", "y"], 40), categories=["y", "x", "unused"]),
        "treated": np.arange(80) % 3 == 0,
    },
    index=[f"real {i}" for i in range(80)],
)


@pytest.mark.parametrize("n_neighbors", [1, 3, 80])
def test_it_is_scikit_learns_regression_and_vote(n_neighbors):
    found = infer_factors(REAL, GENERATED, factors=FACTORS, n_neighbors=n_neighbors)
    pca = PCA(5).fit(REAL)
    sides = pca.transform(REAL), pca.transform(GENERATED)
    for name in ("step", "size"):
        expected = KNeighborsRegressor(n_neighbors).fit(sides[0], FACTORS[name]).predict(sides[1])
        np.testing.assert_allclose(found[name], expected)
    for name in ("path", "treated"):
        expected = KNeighborsClassifier(n_neighbors).fit(sides[0], FACTORS[name]).predict(sides[1])
        np.testing.assert_array_equal(found[name], expected)
    votes = KNeighborsClassifier(n_neighbors).fit(sides[0], FACTORS["batch"].cat.codes).predict(sides[1])
    np.testing.assert_array_equal(found["batch"].cat.codes, votes)
    assert list(found) == list(FACTORS)
    assert (found.dtypes[["path", "batch", "treated"]] == FACTORS.dtypes[["path", "batch", "treated"]]).all()


def test_real_cells_are_their_own_neighbours():
    found = infer_factors(REAL, REAL[::-1].copy(), factors=FACTORS, n_neighbors=1)
    for name in FACTORS:
        assert list(found[name]) == list(FACTORS[name][::-1])


def test_a_factor_that_the_cells_show_is_found_and_another_is_not():
    rng = np.random.default_rng(4)
    latent, of_generated = rng.normal(size=(500, 2)), rng.normal(size=(400, 2))
    mixing = rng.normal(size=(1, 6))
    shown, generated = (z[:, :1] @ mixing + 0.01 * rng.normal(size=(len(z), 6)) for z in (latent, of_generated))
    found = infer_factors(shown, generated, factors=pd.DataFrame(latent, columns=["seen", "unseen"]))
    assert spearmanr(found["seen"], of_generated[:, 0])[0] > 0.99
    # the rank correlation of 400 unrelated values has a standard deviation of 1 / sqrt(399) = 0.05; 4 of them
    assert abs(spearmanr(found["unseen"], of_generated[:, 1])[0]) < 0.2


def test_rows_bear_the_names_of_the_generated_cells():
    named = AnnData(GENERATED, obs=pd.DataFrame(index=[f"new {i}" for i in range(30)]))
    assert list(infer_factors(REAL, named, factors=FACTORS).index) == list(named.obs_names)
    assert list(infer_factors(REAL, GENERATED, factors=FACTORS).index) == list(range(30))


def test_cells_without_a_value_are_no_neighbours_for_it():
    partly = FACTORS.assign(
        size=FACTORS["size"].where(FACTORS["step"] >= 30), path=[None] * 30 + list(FACTORS["path"][30:])
    )
    found = infer_factors(REAL, GENERATED, factors=partly)
    only_those = infer_factors(REAL[30:], GENERATED, factors=FACTORS[30:], basis=REAL)
    pd.testing.assert_frame_equal(found[["size", "path"]], only_those[["size", "path"]])
    others = ["step", "batch", "treated"]
    pd.testing.assert_frame_equal(found[others], infer_factors(REAL, GENERATED, factors=FACTORS)[others])


def test_neighbours_are_those_in_the_basis():
    stretch = np.array([1.0, 1.0, 1.0, 1.0, 100.0])
    pca = PCA(1).fit(REAL * stretch)
    nearest = np.abs(pca.transform(GENERATED) - pca.transform(REAL).T).argmin(1)
    found = infer_factors(REAL, GENERATED, factors=FACTORS, n_neighbors=1, basis=pca)
    np.testing.assert_array_equal(found["step"], nearest)
    found = infer_factors(REAL, GENERATED, factors=FACTORS, n_neighbors=1, basis=REAL * stretch, n_components=1)
    np.testing.assert_array_equal(found["step"], nearest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": FACTORS[:9]}, "factors has 9 rows, real 80 cells: give one row for each real cell"),
        (
            {"factors": FACTORS.assign(step=[np.nan] * 78 + [1] * 2)},
            "factor 'step' is known of 2 cells: give n_neighbors=3",
        ),
        ({"n_neighbors": 0}, "n_neighbors is 0: give 1 or more"),
        ({"n_neighbors": 81}, "n_neighbors is 81: give at most the number of real cells, 80"),
        ({"n_components": 0}, "n_components is 0: give 1 or more"),
        ({"real": REAL[:, :4]}, "real has 4 genes, generated has 5"),
    ],
)
def test_it_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        infer_factors(**({"generated": GENERATED, "real": REAL, "factors": FACTORS} | change))
