import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score

from scmichigan.metrics import _discrimination, discriminate, random_forest_error

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


def test_it_is_scikit_learns_cross_validation():
    real, generated = _normal(0), _normal(1) + 0.5
    found = discriminate(real, generated, n_components=None, **FAST)
    forest, cells, is_real = (
        RandomForestClassifier(40, random_state=0),
        np.vstack([real, generated]),
        [1] * 300 + [0] * 300,
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    assert found.error == pytest.approx(1 - cross_val_score(forest, cells, is_real, cv=folds).mean())
    assert found.auroc == pytest.approx(cross_val_score(forest, cells, is_real, cv=folds, scoring="roc_auc").mean())
    probability = cross_val_predict(forest, cells, is_real, cv=folds, method="predict_proba")[:, 1]
    np.testing.assert_allclose(np.concatenate([found.probability_of_real, found.probability_of_generated]), probability)
    assert found.error == random_forest_error(real, generated, n_components=None, **FAST)


# Of 300 x 300 pairs, the area has a standard deviation of sqrt((300 + 300 + 1) / (12 x 300 x 300)) = 0.024; 4 of them:
@pytest.mark.parametrize(("shift", "expected"), [(0, pytest.approx(0.5, abs=0.1)), (5, pytest.approx(1, abs=0.001))])
def test_area_of_one_source_and_of_shifted_cells(shift, expected):
    assert discriminate(_normal(0), _normal(1) + shift, basis=_normal(2), **FAST).auroc == expected


def test_every_cell_has_a_probability_in_its_place():
    real, generated = _normal(0, 200), _normal(1, 60) + 20
    real[7] += 20
    found = discriminate(real, generated, n_components=None, n_cells=30, **FAST)
    assert (found.probability_of_real.shape, found.probability_of_generated.shape) == ((200,), (60,))
    assert found.probability_of_generated.max() < 0.5
    np.testing.assert_array_equal(np.flatnonzero(found.probability_of_real < 0.5), [7])


def test_probability_is_out_of_the_fit_for_all_cells():
    found = discriminate(_normal(0), _normal(1, 100), n_components=None, **FAST)
    # By a forest fitted on them, cells of one source have a mean probability near 0.8. Out of its fit, means of 100 and more
    # are 0.5 with a standard deviation of one forest's values over the root of the number, 0.02, plus their correlation.
    for probability in (found.probability_of_real, found.probability_of_generated):
        assert probability.mean() == pytest.approx(0.5, abs=0.1)


def test_blocks_do_not_matter(monkeypatch):
    real, generated = _normal(0), _normal(1, 100)
    whole = discriminate(real, generated, **FAST)
    monkeypatch.setattr(_discrimination, "_BLOCK_CELLS", 33)
    np.testing.assert_allclose(discriminate(real, generated, **FAST).probability_of_real, whole.probability_of_real)
