from functools import partial

import numpy as np
import pytest

from scmichigan.metrics import additive, additive_weighted, no_change, split_half


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def control(rng):
    return rng.normal(size=(40, 7))


def test_no_change_is_a_copy_of_the_control(control):
    cells = no_change(control)
    np.testing.assert_array_equal(cells, control.astype(np.float32))
    assert cells.dtype == np.float32
    cells[:] = 0
    assert control.any()


def test_draws(control):
    def rows(cells):
        return [tuple(row) for row in cells]

    known = set(rows(control.astype(np.float32)))
    assert len(set(rows(no_change(control, n_samples=40)))) == 40
    more = rows(no_change(control, n_samples=200, seed=3))
    assert len(more) == 200
    assert set(more) <= known
    assert more == rows(no_change(control, n_samples=200, seed=3)) != rows(no_change(control, n_samples=200, seed=4))
    additives = [partial(predict, changes=[(control, control)]) for predict in (additive, additive_weighted)]
    for predict in (no_change, *additives):
        with pytest.raises(ValueError, match="n_samples is 0: give 1 or more"):
            predict(control, n_samples=0)


@pytest.mark.parametrize(("weights", "shares"), [(None, (0.5, 0.5)), ((3, 1), (0.75, 0.25)), ((0, 2), (0, 1))])
def test_additive_shifts_the_mean_by_the_mean_change(control, rng, weights, shares):
    first, second = [(rng.normal(size=(5, 7)), rng.normal(size=(9, 7))) for _ in range(2)]
    predicted = additive(control, [first, second], weights=weights)
    changes = [after.mean(0) - before.mean(0) for before, after in (first, second)]
    expected = control.mean(0) + shares[0] * changes[0] + shares[1] * changes[1]
    np.testing.assert_allclose(predicted.mean(0), expected, atol=1e-6)
    np.testing.assert_allclose(predicted - predicted[0], control - control[0], atol=1e-5)
    assert predicted.dtype == np.float32


def test_additive_draws_the_cells_of_no_change(control):
    drawn = additive(control, [(control, control + 1)], n_samples=15, seed=2)
    np.testing.assert_allclose(drawn, no_change(control, n_samples=15, seed=2) + 1, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "weights", "message"),
    [
        ([], None, "changes is empty"),
        ([(np.ones((2, 7)),)], None, r"changes\[0\] has 1 member: give a pair"),
        ([(np.ones((2, 7)), np.ones((2, 6)))], None, r"changes\[0\]\[1\] has 6 genes, control has 7"),
        ([(np.ones((2, 7)), np.ones((2, 7)))], [1, 2], r"weights has shape \(2,\): give one for each of the 1 changes"),
        ([(np.ones((2, 7)), np.ones((2, 7)))], [-1], r"weights are \[-1.0\]: give finite values of 0 or more"),
        ([(np.ones((2, 7)), np.ones((2, 7)))], [0], "not all 0"),
    ],
)
def test_additive_refuses(control, changes, weights, message):
    with pytest.raises(ValueError, match=message):
        additive(control, changes, weights=weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "changes is empty"),
        ([(np.ones((2, 7)),)], r"changes\[0\] has 1 member: give a pair"),
        ([(np.ones((2, 7)), np.ones((2, 6)))], r"changes\[0\]\[1\] has 6 genes, control has 7"),
    ],
)
def test_additive_weighted_refuses(control, changes, message):
    with pytest.raises(ValueError, match=message):
        additive_weighted(control, changes)


def test_weights_are_the_inverse_squared_distances_of_the_controls(control, rng):
    near, far = control + 1, control[:9] - control[:9].mean(0) + control.mean(0) + [2, 0, 0, 0, 0, 0, 0]
    changes = [(near, rng.normal(size=(5, 7))), (far, rng.normal(size=(9, 7)))]
    # squared distances of 7 and 4
    expected = additive(control, changes, weights=[1 / 7, 1 / 4])
    np.testing.assert_allclose(additive_weighted(control, changes), expected, atol=1e-6)
    drawn = additive(control, changes, weights=[4, 7], n_samples=5, seed=3)
    np.testing.assert_allclose(additive_weighted(control, changes, n_samples=5, seed=3), drawn, atol=1e-6)


def test_contexts_with_the_same_control_take_all_the_weight(control, rng):
    same, shuffled, other = control.astype(np.float32), control[::-1], control + 1e-3
    changes = [(cells, rng.normal(size=(5, 7))) for cells in (same, shuffled, other)]
    expected = additive(control, changes, weights=[1, 1, 0])
    np.testing.assert_allclose(additive_weighted(control, changes), expected, atol=1e-6)
    zeros = np.zeros((3, 7))
    np.testing.assert_allclose(additive_weighted(zeros, [(zeros, zeros + 2), (zeros + 1, zeros)]), 2)


@pytest.mark.parametrize("n_cells", [40, 39, 2])
def test_halves_are_disjoint_and_complete(control, n_cells):
    first, second = split_half(control[:n_cells])
    assert (len(first), len(second)) == (n_cells // 2, n_cells - n_cells // 2)
    both = np.vstack([first, second])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(control[:n_cells].astype(np.float32), axis=0))


def test_halves_follow_their_seed(control):
    np.testing.assert_array_equal(split_half(control, seed=1), split_half(control, seed=1))
    assert not np.array_equal(split_half(control, seed=1), split_half(control, seed=2))


def test_one_cell_cannot_be_split():
    with pytest.raises(ValueError, match="real has 1 cell: give 2 or more"):
        split_half(np.ones((1, 3)))
