import numpy as np
import pytest
from scipy.stats import energy_distance
from sklearn.decomposition import PCA

from scmichigan.metrics import _realism, e_distance, random_forest_error

FAST = {"n_trees": 40, "seed": 0}


def _normal(seed, n_cells=300, n_genes=6):
    return np.random.default_rng(seed).normal(size=(n_cells, n_genes))


# Predictions for 2 x 300 cells by guessing have an error of 0.5 with a standard deviation of sqrt(0.25 / 600) = 0.02;
# the trees of one fold share their training cells, which correlates errors somewhat. 4 of them:
GUESSING = pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("n_components", [50, 3, None])
def test_forest_guesses_between_cells_of_one_source(n_components):
    assert random_forest_error(_normal(0), _normal(1), n_components=n_components, **FAST) == GUESSING


def test_forest_tells_shifted_cells():
    assert random_forest_error(_normal(0), _normal(1) + 5, **FAST) < 0.01


def test_forest_error_of_copies_is_above_guessing():
    real = _normal(0)
    assert random_forest_error(real, real.copy(), **FAST) > 0.6


def test_components_of_the_scored_cells_are_biased_and_a_basis_of_others_is_not():
    real, generated, others = (_normal(seed, n_genes=200) for seed in range(3))
    assert random_forest_error(real, generated, **FAST) < 0.3
    assert random_forest_error(real, generated, basis=others, **FAST) == GUESSING
    assert random_forest_error(real, generated, basis=PCA(50, random_state=0).fit(others), **FAST) == GUESSING


def test_forest_sides_are_balanced():
    # by always naming the larger side, a forest would err on 10 of 100 cells
    assert random_forest_error(_normal(0, 90), _normal(1, 10), n_trees=40, n_folds=2) > 0.2


def test_forest_follows_its_seed():
    errors = [random_forest_error(_normal(0), _normal(1), n_cells=40, n_trees=5, seed=seed) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_folds": 1}, "n_folds is 1: give 2 or more"),
        ({"n_trees": 0}, "n_trees is 0: give 1 or more"),
        ({"n_components": 0}, "n_components is 0: give 1 or more"),
        ({"n_cells": 4}, "4 cells of each side are too few for n_folds=5: give more cells"),
    ],
)
def test_forest_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_forest_error(_normal(0), _normal(1), **arguments)


@pytest.mark.parametrize(("n_x", "n_y"), [(50, 50), (30, 80), (1, 5)])
def test_e_distance_is_scipys_squared_in_one_dimension(n_x, n_y):
    x, y = _normal(0, n_x, 1), 0.5 + 2 * _normal(1, n_y, 1)
    assert e_distance(x, y) == pytest.approx(energy_distance(x[:, 0], y[:, 0]) ** 2)


def test_e_distance_of_two_points_is_twice_theirs():
    assert e_distance(np.zeros((3, 2)), np.tile([3.0, 4.0], (5, 1))) == pytest.approx(10)


def test_e_distance_of_the_same_cells_is_zero_however_far_out():
    x = _normal(0) + 1e4
    assert e_distance(x, x[::-1].copy()) == pytest.approx(0, abs=1e-9)


def test_e_distance_sees_what_the_means_do_not():
    assert e_distance(_normal(0), 2 * _normal(1)) > 10 * e_distance(_normal(0), _normal(1))


def test_e_distance_of_one_population_is_as_documented():
    # E|X - X'| of two standard normals is 2 / sqrt(pi)
    values = [e_distance(_normal(i, 10, 1), _normal(1000 + i, 20, 1)) for i in range(200)]
    expected = 2 / np.sqrt(np.pi) * (1 / 10 + 1 / 20)
    assert min(values) >= 0
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_all_components_are_a_rotation():
    x, y = _normal(0), _normal(1) + 1
    assert e_distance(x, y, basis=_normal(2)) == pytest.approx(e_distance(x, y))


def test_e_distance_is_that_along_the_components():
    stretch = np.array([10.0, 1.0])
    x, y = _normal(0, n_genes=2) * stretch, _normal(1, n_genes=2) * stretch + [0, 5]
    basis = _normal(2, n_genes=2) * stretch
    pca = PCA(1).fit(basis)
    along = energy_distance(pca.transform(x)[:, 0], pca.transform(y)[:, 0]) ** 2
    assert e_distance(x, y, basis=basis, n_components=1) == pytest.approx(along)
    assert e_distance(x, y, basis=pca) == pytest.approx(along)


def test_blocks_do_not_matter(monkeypatch):
    x, y = _normal(0), _normal(1)
    whole = e_distance(x, y)
    monkeypatch.setattr(_realism, "_WORKING_MEMORY_MIB", 0.01)  # 4 rows at a time
    assert e_distance(x, y) == pytest.approx(whole)


def test_e_distance_follows_its_seed():
    values = [e_distance(_normal(0), _normal(1), n_cells=20, seed=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_e_distance_refuses():
    x = _normal(0)
    with pytest.raises(ValueError, match="basis is a PCA that is not fitted: call its fit"):
        e_distance(x, x, basis=PCA(2))
    with pytest.raises(ValueError, match="basis was fitted on 4 genes, the cells have 6"):
        e_distance(x, x, basis=PCA(2).fit(x[:, :4]))
    with pytest.raises(ValueError, match="basis has 4 genes, x has 6"):
        e_distance(x, x, basis=x[:, :4])
    with pytest.raises(ValueError, match="n_cells is 0: give 1 or more"):
        e_distance(x, x, n_cells=0)
