import numpy as np
import pytest
from scipy import sparse

from scmichigan.metrics import discrimination_rank


def _around(*means, n_cells=5):
    spread = np.linspace(-1, 1, n_cells)[:, None]
    return {f"t{i}": np.array([[mean, 0.0]]) + spread for i, mean in enumerate(means)}


REAL = _around(0, 10, 30, 70)


def test_ranks_by_hand():
    found = discrimination_rank(REAL, _around(1, 12, 9, 200, n_cells=3))
    # t2 is predicted at 9: t1 and t0 are closer than t2 itself
    assert dict(found) == pytest.approx({"t0": 1, "t1": 1, "t2": 1 / 3, "t3": 1})


def test_real_cells_rank_first_and_swapped_ones_last():
    assert (discrimination_rank(REAL, REAL) == 1).all()
    swapped = {"t0": REAL["t3"], "t3": REAL["t0"]}
    assert (discrimination_rank(REAL, swapped) == 0).all()


@pytest.mark.parametrize("place", [0, 12.3, -500])
def test_one_prediction_for_all_is_at_chance(place):
    assert discrimination_rank(REAL, _around(place, place, place, place)).mean() == pytest.approx(0.5)


def test_targets_at_one_distance_share_their_ranks():
    real = _around(-1, 1, 5)
    assert dict(discrimination_rank(real, _around(0))) == {"t0": 0.75}
    same = {name: np.ones((2, 2)) for name in "abc"}
    assert (discrimination_rank(same, same) == 0.5).all()


def test_names_may_be_anything_hashable():
    real = {("B", "stim"): np.zeros((2, 2)), 7: np.ones((2, 2))}
    found = discrimination_rank(real, {("B", "stim"): sparse.csr_matrix((2, 2))})
    assert found.index.tolist() == [("B", "stim")]
    assert found.tolist() == [1]


@pytest.mark.parametrize(
    ("predicted", "real", "error", "message"),
    [
        ({}, REAL, ValueError, "predicted is empty"),
        ({"t0": np.ones((2, 2))}, {"t0": np.ones((2, 2))}, ValueError, "real has 1 targets: give 2 or more"),
        ({"t9": np.ones((2, 2))}, REAL, KeyError, "predicted has the target 't9', real has not"),
        ({"t1": np.ones((2, 3))}, REAL, ValueError, r"real\['t0'\] has 2 genes, predicted\['t1'\] has 3"),
        ({"t1": np.ones((0, 2))}, REAL, ValueError, r"predicted\['t1'\] has shape \(0, 2\)"),
    ],
)
def test_it_refuses(predicted, real, error, message):
    with pytest.raises(error, match=message):
        discrimination_rank(real, predicted)
