import numpy as np
import pandas as pd
import pytest

from scmichigan.metrics import single_factor_fraction, traversal_change

N_STEPS = 5
TIME = np.linspace(0, 1, N_STEPS)
REAL = pd.DataFrame({"time": np.linspace(0, 1, 1001), "kind": pd.Categorical(["x", "y", "z"] * 333 + ["x", "y"])})


def walk_of(n_dimensions, n_walks=10):
    dimension, walk, step = np.indices((n_dimensions, n_walks, N_STEPS)).reshape(3, -1) + 1
    return pd.DataFrame({"dimension": dimension, "walk": walk, "step": step})


def change_of(n_dimensions, time, kind, real=REAL):
    """Change where a function of dimension, walk and step gives the time, and one the kind."""
    walk = walk_of(n_dimensions)
    rows = list(walk.itertuples(index=False))
    kinds = pd.Categorical([kind(*row) for row in rows], categories=["x", "y", "z"])
    inferred = pd.DataFrame({"time": [time(*row) for row in rows], "kind": kinds})
    return traversal_change(real, inferred, walk)


def test_a_dimension_for_each_factor_is_perfect():
    change = change_of(2, lambda d, w, s: TIME[s - 1] if d == 1 else 0.3, lambda d, w, s: "xyz"[s // 2 * (d == 2)])
    np.testing.assert_allclose(change, np.eye(2), atol=1e-12)
    assert list(change.index) == [1, 2]
    np.testing.assert_allclose(single_factor_fraction(change), 1)


def test_all_factors_at_once_are_useless():
    change = change_of(1, lambda d, w, s: TIME[s - 1], lambda d, w, s: "xyz"[s // 2])
    np.testing.assert_allclose(change, 1)
    np.testing.assert_allclose(single_factor_fraction(change), 1 / 2)


def test_nothing_that_changes_has_no_share():
    change = change_of(1, lambda d, w, s: 0.5, lambda d, w, s: "y")
    np.testing.assert_array_equal(change, [[0, 0]])
    assert np.isnan(single_factor_fraction(change).item())


def test_what_comes_back_has_changed():
    there_and_back = [0.0, 0.5, 1.0, 0.5, 0.0]
    change = change_of(1, lambda d, w, s: there_and_back[s - 1], lambda d, w, s: "xyzyx"[s - 1])
    np.testing.assert_allclose(change, 1)


def test_numbers_that_go_opposite_ways_cancel_and_categories_do_not():
    change = change_of(1, lambda d, w, s: TIME[s - 1 if w % 2 else -s], lambda d, w, s: "xy"[s // 3] if w % 2 else "x")
    np.testing.assert_allclose(change, [[0, 1 / 2]], atol=1e-12)


def test_an_odd_real_cell_hides_no_change():
    real = REAL.copy()
    real.loc[0, "time"] = 1e6
    change = change_of(1, lambda d, w, s: TIME[s - 1], lambda d, w, s: "x", real)
    # The percentiles of 1,001 evenly spaced numbers are hardly moved by one.
    assert change.loc[1, "time"] == 1


def test_a_number_that_few_cells_have_is_taken_by_its_range():
    real = REAL.assign(time=np.r_[4.0, np.zeros(1000)])
    change = change_of(1, lambda d, w, s: TIME[s - 1], lambda d, w, s: "x", real)
    assert change.loc[1, "time"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("n_walks", [3, 10, 30])
def test_what_depends_on_no_step_counts_as_no_change(n_walks):
    rng = np.random.default_rng(n_walks)
    walk = walk_of(10, n_walks)
    real = pd.DataFrame({name: pd.Categorical(list("abcdefgh") * 10) for name in "uv"})
    inferred = pd.DataFrame({name: rng.choice(list("abcdefgh"), len(walk)) for name in "uv"})
    change = traversal_change(real, inferred, walk)
    # Each of 20 is above the most of 100 such shuffles with probability 1/101; three or more are, once in a thousand times.
    assert (change > change.attrs["chance"]).to_numpy().sum() <= 2
    if n_walks == 3:
        return
    # A dimension that gives one factor away stands out, though the other changes much by chance.
    inferred.loc[walk["dimension"] == 1, "u"] = np.array(list("abcde"))[walk.loc[walk["dimension"] == 1, "step"] - 1]
    share = single_factor_fraction(traversal_change(real, inferred, walk))
    assert share[1] == 1
    assert share[2:].isna().sum() >= 7


def test_single_walks_have_no_chance_and_are_counted_as_they_are():
    walk = walk_of(1, n_walks=1)
    inferred = pd.DataFrame({"time": TIME, "kind": list("xxyyy")})
    change = traversal_change(REAL, inferred, walk)
    np.testing.assert_array_equal(change.attrs["chance"], [[0, 0]])
    assert single_factor_fraction(change).item() == pytest.approx(1 / 2)


def test_change_refuses():
    walk = walk_of(1)
    inferred = pd.DataFrame({"time": np.tile(TIME, 10)})
    with pytest.raises(ValueError, match="walk has no column 'step': give the obs of a traversal"):
        traversal_change(REAL, inferred, walk.drop(columns="step"))
    with pytest.raises(ValueError, match="inferred has 5 rows, walk has 50"):
        traversal_change(REAL, inferred[:5], walk)
    with pytest.raises(ValueError, match="real has no factor 'time'"):
        traversal_change(REAL[["kind"]], inferred, walk)
    with pytest.raises(ValueError, match="factor 'time' has 1 different value"):
        traversal_change(REAL.assign(time=1.0), inferred, walk)
    with pytest.raises(ValueError, match=r"inferred\['time'\] lacks values"):
        traversal_change(REAL, inferred.mask(inferred == 1), walk)


def test_share_refuses():
    with pytest.raises(ValueError, match="change has 1 factors: give two or more"):
        single_factor_fraction(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match="negative or not finite"):
        single_factor_fraction(pd.DataFrame({"a": [1.0], "b": [-1.0]}))
