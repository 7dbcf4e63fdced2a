import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData

from scmichigan.metrics import change_slope, de_direction, de_overlap, mean_change_correlation, no_change


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def control(rng):
    return rng.normal(size=(40, 7))


def _screen(seed, *, strength=1.0, n_cells=60, n_genes=50):
    """Perturbed cells of log-normalised expression in which the first 10 genes change, half of them down."""
    rng = np.random.default_rng(seed)
    change = np.zeros(n_genes)
    change[:10] = strength * np.tile([2, -2], 5)
    return 4 + change + rng.normal(size=(n_cells, n_genes))


def _scanpys_top(cells, control, n_top):
    groups = pd.Categorical(["perturbed"] * len(cells) + ["control"] * len(control))
    both = AnnData(
        np.vstack([cells, control]), obs=pd.DataFrame({"group": groups}).set_axis(map(str, range(len(groups))))
    )
    both.var_names = [str(g) for g in range(both.n_vars)]
    sc.tl.rank_genes_groups(both, "group", groups=["perturbed"], reference="control", rankby_abs=True, method="t-test")
    return np.array([int(name) for name in both.uns["rank_genes_groups"]["names"]["perturbed"][:n_top]])


CONTROL, REAL, OTHER = _screen(0, strength=0), _screen(1), _screen(2)


@pytest.mark.parametrize(("factor", "expected"), [(1, 1), (0.3, 1), (-2, -1)])
def test_correlation_of_scaled_changes(control, rng, factor, expected):
    change = rng.normal(size=7)
    assert mean_change_correlation(control + change, control + factor * change, control) == pytest.approx(expected)


def test_correlation_is_numpys_for_any_numbers_of_cells(control, rng):
    predicted, real = rng.normal(size=(10, 7)), rng.normal(size=(25, 7))
    expected = np.corrcoef(predicted.mean(0) - control.mean(0), real.mean(0) - control.mean(0))[0, 1]
    assert mean_change_correlation(real, predicted, control) == pytest.approx(expected)


@pytest.mark.parametrize("n_top", [5, 20, 50])
def test_correlation_is_over_the_genes_that_scanpy_ranks_first(n_top):
    genes = _scanpys_top(REAL, CONTROL, n_top)
    expected = np.corrcoef(*((cells - CONTROL.mean(0)).mean(0)[genes] for cells in (OTHER, REAL)))[0, 1]
    assert mean_change_correlation(REAL, OTHER, CONTROL, n_top=n_top) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correlation_needs_changes_that_differ(control, shift, dtype):
    constant = (control + shift).astype(dtype)
    with pytest.raises(ValueError, match="predicted differs from control by .* in every gene"):
        mean_change_correlation(control * 2, constant, control)
    with pytest.raises(ValueError, match="real differs from control by .* check that real and control are different"):
        mean_change_correlation(constant, control * 2, control)
    with pytest.raises(ValueError, match="real differs from control by .* neither correlation nor slope is defined"):
        change_slope(constant, control * 2, control)


@pytest.mark.parametrize("factor", [1, 0.3, 0, -2])
def test_slope_of_scaled_changes(control, rng, factor):
    change = rng.normal(size=7)
    assert change_slope(control + change, control + factor * change, control) == pytest.approx(factor)


def test_slope_is_numpys_and_a_shift_of_all_genes_does_not_matter(control, rng):
    predicted, real = rng.normal(size=(10, 7)), rng.normal(size=(25, 7))
    expected = np.polyfit(real.mean(0) - control.mean(0), predicted.mean(0) - control.mean(0), 1)[0]
    assert change_slope(real, predicted, control) == pytest.approx(expected)
    assert change_slope(real, predicted + 3, control) == pytest.approx(expected)


@pytest.mark.parametrize("n_top", [3, 15, 40])
def test_overlap_is_that_of_the_genes_that_scanpy_ranks_first(n_top):
    shared = set(_scanpys_top(REAL, CONTROL, n_top)) & set(_scanpys_top(OTHER, CONTROL, n_top))
    assert de_overlap(REAL, OTHER, CONTROL, n_top=n_top) == len(shared) / n_top


def test_overlap_of_a_perfect_a_wrong_and_a_reversed_change():
    assert de_overlap(REAL, OTHER, CONTROL, n_top=10) == 1
    assert de_overlap(REAL, OTHER[:, ::-1].copy(), CONTROL, n_top=10) == 0
    assert de_overlap(REAL, 2 * CONTROL.mean(0) - OTHER, CONTROL, n_top=10) == 1  # directions are not its business


def test_direction_of_a_perfect_a_weak_a_reversed_and_a_random_change():
    assert de_direction(REAL, OTHER, CONTROL, n_top=10) == 1
    assert de_direction(REAL, CONTROL + 1e-3 * (OTHER - CONTROL).mean(0), CONTROL, n_top=10) == 1
    assert de_direction(REAL, 2 * CONTROL.mean(0) - OTHER, CONTROL, n_top=10) == 0
    control = _screen(3, strength=0, n_cells=2000)
    guesses = [de_direction(REAL, _screen(seed, strength=0), control, n_top=10) for seed in range(10, 60)]
    # 500 coins have a standard deviation of 0.022. The control's own error, 0.17 of a guess's, is in all guesses and moves
    # the 10 genes' coins by 0.07 each, 0.02 on average; 4 of the root sum of squares.
    assert np.mean(guesses) == pytest.approx(0.5, abs=0.12)


def test_no_change_has_no_genes_and_no_directions_even_in_single_precision():
    for unchanged in (CONTROL.copy(), no_change(CONTROL), no_change(CONTROL)[::-1].copy()):
        assert de_overlap(REAL, unchanged, CONTROL, n_top=10) == 0
        assert de_direction(REAL, unchanged, CONTROL, n_top=10) == 0
        assert change_slope(REAL, unchanged, CONTROL) == 0


def test_constant_genes():
    control, real = CONTROL.copy(), REAL.copy()
    # Not expressed; constant at a value that has rounding; apart without any scatter, which is the clearest change.
    control[:, 20:23], real[:, 20:23] = [0, 0.1, 0.3], [0, 0.1, 0.7]
    assert de_direction(real, real, control, n_top=1) == 1
    weak = real.copy()
    weak[:, 22] = 0.2
    assert de_direction(real, weak, control, n_top=1) == 0
    with pytest.raises(ValueError, match="n_top is 49, but 48 genes of real differ from control"):
        de_direction(real, real, control, n_top=49)


def test_one_mean_cell_repeated_is_tested_against_the_scatter_of_control():
    repeated = np.tile(OTHER.mean(0), (5, 1))
    assert de_overlap(REAL, repeated, CONTROL, n_top=10) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_top": 0}, "n_top is 0: give 1 or more"),
        ({"n_top": 51}, "n_top is 51: give"),
        ({"real": REAL[:1]}, "real has 1 cell: give 2 or more to test genes"),
        ({"control": CONTROL[:1]}, "control has 1 cell: give 2 or more to test genes"),
        ({"real": CONTROL}, "n_top is 10, but 0 genes of real differ from control: .* different cells"),
        ({"predicted": REAL[:, :9]}, "predicted has 9 genes, real has 50"),
        ({"predicted": np.full((3, 50), np.nan)}, "predicted has 150 values that are NaN"),
    ],
)
@pytest.mark.parametrize("metric", [mean_change_correlation, de_overlap, de_direction])
def test_they_refuse(metric, change, message):
    with pytest.raises(ValueError, match=message):
        metric(**({"predicted": OTHER, "real": REAL, "control": CONTROL, "n_top": 10} | change))


def test_overlap_of_all_genes_is_refused():
    with pytest.raises(ValueError, match="n_top is 50: give less than the 50 genes, all would be shared"):
        de_overlap(REAL, OTHER, CONTROL, n_top=50)
    with pytest.raises(ValueError, match="predicted has 1 cell: give 2 or more to test genes"):
        de_overlap(REAL, OTHER[:1], CONTROL, n_top=10)
