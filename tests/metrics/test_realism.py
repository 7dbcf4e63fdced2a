import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from scipy.stats import energy_distance
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from scmichigan.metrics import _realism, e_distance, frechet_distance, mmd


def _normal(seed, n_cells=300, n_genes=6):
    return np.random.default_rng(seed).normal(size=(n_cells, n_genes))


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


@pytest.mark.parametrize("distance", [e_distance, mmd, frechet_distance])
def test_all_components_are_a_rotation(distance):
    x, y = _normal(0), _normal(1) + 1
    assert distance(x, y, basis=_normal(2)) == pytest.approx(distance(x, y))


def test_e_distance_is_that_along_the_components():
    stretch = np.array([10.0, 1.0])
    x, y = _normal(0, n_genes=2) * stretch, _normal(1, n_genes=2) * stretch + [0, 5]
    basis = _normal(2, n_genes=2) * stretch
    pca = PCA(1).fit(basis)
    along = energy_distance(pca.transform(x)[:, 0], pca.transform(y)[:, 0]) ** 2
    assert e_distance(x, y, basis=basis, n_components=1) == pytest.approx(along)
    assert e_distance(x, y, basis=pca) == pytest.approx(along)


def test_e_distance_is_that_of_all_pairs():
    x, y = _normal(0, 30), 0.5 + 2 * _normal(1, 80)
    expected = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert e_distance(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [e_distance, mmd])
def test_blocks_do_not_matter(monkeypatch, distance):
    x, y = _normal(0), _normal(1)
    whole = distance(x, y)
    monkeypatch.setattr(_realism, "_WORKING_MEMORY_MIB", 0.01)  # 4 rows at a time
    assert distance(x, y) == pytest.approx(whole)


@pytest.mark.parametrize("distance", [e_distance, mmd])
def test_sampled_distances_follow_their_seed(distance):
    values = [distance(_normal(0), _normal(1), n_cells=20, seed=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("distance", [e_distance, mmd, frechet_distance])
def test_distances_refuse_a_basis_that_does_not_fit(distance):
    x = _normal(0)
    with pytest.raises(ValueError, match="basis is a PCA that is not fitted: call its fit"):
        distance(x, x, basis=PCA(2))
    with pytest.raises(ValueError, match="basis was fitted on 4 genes, the cells have 6"):
        distance(x, x, basis=PCA(2).fit(x[:, :4]))
    with pytest.raises(ValueError, match="basis has 4 genes, real has 6"):
        distance(x, x, basis=x[:, :4])
    with pytest.raises(ValueError, match="n_components is 0: give 1 or more"):
        distance(x, x, basis=x, n_components=0)


@pytest.mark.parametrize("distance", [e_distance, mmd])
def test_sampled_distances_need_cells(distance):
    with pytest.raises(ValueError, match="n_cells is 0: give 1 or more"):
        distance(_normal(0), _normal(1), n_cells=0)


@pytest.mark.parametrize(("n_x", "n_y"), [(50, 50), (30, 80), (5, 1)])
def test_mmd_is_that_of_sklearns_kernel_with_the_median_distance_of_real_cells(n_x, n_y):
    x, y = _normal(0, n_x), 0.5 + 2 * _normal(1, n_y)
    gamma = 1 / (2 * np.median(pdist(x)) ** 2)
    expected = sum(rbf_kernel(a, gamma=gamma).mean() for a in (x, y)) - 2 * rbf_kernel(x, y, gamma=gamma).mean()
    assert mmd(x, y) == pytest.approx(expected)


def test_mmd_of_two_points_is_in_closed_form():
    x, y = np.zeros((3, 2)), np.tile([3.0, 4.0], (5, 1))
    assert mmd(x, y, bandwidth=2) == pytest.approx(2 - 2 * np.exp(-25 / 8))
    assert mmd(x, 1e3 * y, bandwidth=2) == pytest.approx(2)


def test_mmd_of_a_wide_kernel_is_the_difference_of_means():
    x, y = _normal(0), _normal(1) + 0.7
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) / 1e3**2
    # the next term of the series is about (distance / bandwidth)^2 = 2e-5 as large
    assert mmd(x, y, bandwidth=1e3) == pytest.approx(expected, rel=1e-3)


def test_mmd_of_the_same_cells_is_zero_however_far_out():
    x = _normal(0) + 1e4
    assert mmd(x, x[::-1].copy()) == pytest.approx(0, abs=1e-9)


def test_mmd_sees_what_the_means_do_not():
    assert mmd(_normal(0), 2 * _normal(1)) > 5 * mmd(_normal(0), _normal(1))


def test_mmd_of_one_population_is_as_documented():
    # E exp(-d^2 / 2) of two standard normals, whose difference is N(0, 2), is 1 / sqrt(1 + 2)
    values = [mmd(_normal(i, 10, 1), _normal(1000 + i, 20, 1), bandwidth=1) for i in range(200)]
    expected = (1 - 1 / np.sqrt(3)) * (1 / 10 + 1 / 20)
    assert min(values) >= 0
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_mmd_takes_its_bandwidth_from_at_most_a_thousand_cells(monkeypatch):
    x, y = _normal(0), _normal(1) + 1
    monkeypatch.setattr(_realism, "_BANDWIDTH_CELLS", 100)
    # the median of 4,950 pairs of 100 cells scatters by a few per cent, and the value with it
    assert mmd(x, y) == pytest.approx(mmd(x, y, bandwidth=np.median(pdist(x))), rel=0.1)


@pytest.mark.parametrize("bandwidth", [0, -1, np.nan, np.inf])
def test_mmd_refuses_a_bandwidth(bandwidth):
    with pytest.raises(ValueError, match="bandwidth is .*: give a positive number, or None for the median distance"):
        mmd(_normal(0), _normal(1), bandwidth=bandwidth)


@pytest.mark.parametrize("real", [np.ones((9, 6)), np.ones((1, 6))])
def test_mmd_has_no_bandwidth_where_all_real_cells_are_the_same(real):
    with pytest.raises(ValueError, match=r"the median distance between the \d cells of real is 0: give a bandwidth"):
        mmd(real, _normal(0))
    assert mmd(real, real, bandwidth=1) == 0


def test_frechet_distance_is_the_formula_with_scipys_root():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5) for n in (60, 90))
    of_x, of_y = np.cov(x.T), np.cov(y.T)
    root = sqrtm(of_x)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(of_x + of_y - 2 * sqrtm(root @ of_y @ root).real)
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_frechet_distance_in_one_dimension_is_that_of_means_and_standard_deviations():
    x, y = _normal(0, 40, 1), 3 + 2 * _normal(1, 70, 1)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_frechet_distance_of_the_same_cells_is_zero_and_of_shifted_ones_the_squared_shift():
    x = _normal(0)
    assert frechet_distance(x, x[::-1].copy()) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(x, x + 3) == pytest.approx(6 * 9)
    assert frechet_distance(x + 1e4, x + 1e4 + 3) == pytest.approx(6 * 9)


def test_frechet_distance_sees_means_and_covariances_only():
    x, y = np.array([[-1.0], [1.0]] * 50), np.array([[-2.0], [0.0], [0.0], [2.0]] * 25) / np.sqrt(2)
    assert frechet_distance(x, y) == pytest.approx(0, abs=1e-12)
    assert e_distance(x, y) > 0.1


def test_frechet_distance_holds_with_fewer_cells_than_genes_and_shrinks_with_more():
    few, many = (frechet_distance(_normal(0, n, 80), _normal(1, n, 80)) for n in (10, 1000))
    assert few > 5 * many > 0


def test_frechet_distance_needs_two_cells():
    with pytest.raises(ValueError, match="generated has 1 cell: give 2 or more for a covariance"):
        frechet_distance(_normal(0), _normal(1, 1))
