import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from scmichigan.metrics import inception_score

FAST = {"n_trees": 50, "seed": 0}
CENTRES = np.array([[0.0], [20.0], [40.0]])


def _typed(seed, counts):
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], counts)
    return np.repeat(CENTRES, counts, axis=0) + rng.normal(size=(len(labels), 1)), labels


@pytest.mark.parametrize("counts", [(40, 40, 40), (60, 30, 10)])
def test_types_that_are_clear_score_as_the_exponential_of_their_entropy(counts):
    real, labels = _typed(0, counts)
    found = inception_score(real, _typed(1, (40, 40, 40))[0], labels=labels, **FAST)
    assert found.real == pytest.approx(np.exp(entropy(np.array(counts) / sum(counts))), rel=1e-3)
    assert found.generated == pytest.approx(3, rel=1e-3)


def test_cells_that_look_alike_score_one():
    real, labels = _typed(0, (40, 40, 40))
    one_type, one_cell = _typed(1, (40, 0, 0))[0], np.tile(CENTRES.mean(0), (30, 1))
    assert inception_score(real, one_type, labels=labels, **FAST).generated == pytest.approx(1, abs=1e-3)
    assert inception_score(real, one_cell, labels=labels, **FAST).generated == pytest.approx(1)


def test_repeated_cells_are_not_seen():
    real, labels = _typed(0, (40, 40, 40))
    assert inception_score(real, CENTRES, labels=labels, **FAST).generated == pytest.approx(3, rel=1e-3)


def test_real_cells_are_scored_out_of_the_fit():
    rng = np.random.default_rng(0)
    real, meaningless = rng.normal(size=(200, 5)), np.array(["a", "b"] * 100)
    found = inception_score(real, real, labels=meaningless, **FAST)
    # Guessing between 2 labels scores 1. The forest's probabilities of new cells scatter by 0.15 or so about 0.5, which is
    # worth 2 x 0.15^2 = 0.045 nats; those of its own cells are off by 0.3, which is worth 0.2.
    assert found.real < 1.1
    assert found.generated > 1.2


def test_few_trees_raise_all_scores_alike():
    """Labels mean nothing: all above 1 is the scatter of trees, in proportion to one over their number."""
    rng = np.random.default_rng(0)
    cells, meaningless = rng.normal(size=(2, 400, 5)), rng.integers(2, size=400)
    few, many = (inception_score(cells[0], cells[1], labels=meaningless, n_trees=n, seed=0) for n in (20, 1000))
    # Probabilities scatter by 1/4 over the trees that are new to a cell, 37 in 100: 2 x 1/4 / 7.4 nats for 20 trees.
    for name in ("real", "generated"):
        excess = np.log([getattr(few, name), getattr(many, name)])
        assert excess[0] > 0.04
        assert excess[1] < excess[0] / 3
    assert few.real == pytest.approx(few.generated, rel=0.03)
    assert many.real == pytest.approx(many.generated, rel=0.02)


def test_a_rare_label_and_few_cells_do():
    real, labels = _typed(0, (4, 1, 1))
    found = inception_score(real, real[:1], labels=labels, **FAST)
    assert 1 <= found.real <= 3
    assert found.generated == pytest.approx(1)


def test_labels_may_be_of_any_kind_and_order():
    real, labels = _typed(0, (20, 20, 20))
    expected = inception_score(real, real, labels=labels, **FAST)
    series = pd.Series(labels, index=range(100, 160), dtype="category").cat.add_categories(["unused"])
    assert inception_score(real, real, labels=series, **FAST) == expected
    assert inception_score(real, real, labels=list(labels), **FAST) == expected


def test_it_follows_its_seed():
    real, labels = _typed(0, (50, 50, 50))
    overlapping = real / 20
    values = [
        inception_score(overlapping, overlapping, labels=labels, n_cells=40, n_trees=5, seed=s).real for s in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": list("ab")}, "labels has 2 values, real 6 cells: give one label for each cell"),
        ({"labels": ["a", "b", None, "a", np.nan, "b"]}, "labels is missing for 2 cells: leave these"),
        ({"labels": ["a"] * 6}, "labels has 1 different value: give cells of 2 or more types"),
        ({"real": np.ones((4, 2)), "labels": list("abab")}, "real has 4 cells: give 5 or more"),
        ({"n_cells": 4}, "n_cells is 4: give 5 or more"),
        ({"n_trees": 0}, "n_trees is 0: give 1 or more"),
        ({"generated": np.ones((3, 3))}, "generated has 3 genes, real has 2"),
    ],
)
def test_it_refuses(change, message):
    good = {"real": np.ones((6, 2)), "labels": list("ababab"), "generated": np.ones((3, 2))}
    with pytest.raises(ValueError, match=message):
        inception_score(**(good | change))
