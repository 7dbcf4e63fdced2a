import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm

from scmichigan.metrics import total_correlation


def test_independent_by_construction_is_zero():
    grid = np.stack(np.meshgrid([0.0, 1.0, 5.0], [0.0, 2.0], [1.0, 1.5, 1.7], indexing="ij"), -1).reshape(-1, 3)
    var = np.broadcast_to([0.1, 0.5, 0.02], grid.shape)
    # The mixture over all combinations is a product, whatever is drawn.
    assert total_correlation(grid, var) == pytest.approx(0, abs=1e-12)
    assert total_correlation(grid) == pytest.approx(0, abs=1e-12)


def test_a_mixture_agrees_with_quadrature():
    rng = np.random.default_rng(0)
    mean, var = rng.normal(size=(5, 2)), rng.uniform(0.1, 0.6, size=(5, 2))
    t = np.linspace(-7, 7, 700)
    density = norm.pdf(t[:, None, None], mean, np.sqrt(var))
    joint = np.einsum("an,bn->ab", density[..., 0], density[..., 1]) / 5
    product = np.outer(*density.mean(1).T)
    ratio = np.log(joint / product)
    expected = trapezoid(trapezoid(joint * ratio, t), t)
    spread = np.sqrt(trapezoid(trapezoid(joint * ratio**2, t), t) - expected**2)
    # The same mixture, of 400 copies; 2,000 draws.
    found = total_correlation(np.tile(mean, (400, 1)), np.tile(var, (400, 1)))
    assert found == pytest.approx(expected, abs=4 * spread / np.sqrt(2000))


def test_a_gaussian_has_its_closed_form():
    rng = np.random.default_rng(1)
    covariance = np.array([[1.0, 0.8], [0.8, 1.5]])
    mean = rng.multivariate_normal([3, -1], covariance, size=2000)
    whole = covariance + np.diag([0.3, 0.2])
    expected = -0.5 * np.log(1 - whole[0, 1] ** 2 / whole[0, 0] / whole[1, 1])
    # The log ratio of a pair of Gaussians has variance r^2; its mean over 2,000 cells, and that of cells' own spikes.
    r = whole[0, 1] / np.sqrt(whole[0, 0] * whole[1, 1])
    found = total_correlation(mean, np.broadcast_to([0.3, 0.2], mean.shape))
    assert found == pytest.approx(expected, abs=4 * r / np.sqrt(2000) + 0.01)


def test_the_means_alone_have_the_determinant_of_their_correlation():
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) * [1, 10, 1e-3, 1] + 5
    expected = -0.5 * np.linalg.slogdet(np.corrcoef(mean.T))[1]
    assert total_correlation(mean) == pytest.approx(expected)
    assert total_correlation(np.column_stack([mean, np.full(60, 0.1)])) == pytest.approx(expected)
    assert total_correlation(np.column_stack([mean, mean[:, 0] + mean[:, 1]])) == np.inf


def test_cells_apart_are_as_dependent_as_can_be():
    mean = np.arange(50.0)[:, None] * np.ones(3)
    # Each latent tells the cell: every marginal has the entropy of the joint, but for log N each.
    assert total_correlation(mean, np.full((50, 3), 1e-4)) == pytest.approx(2 * np.log(50))


def test_constant_latents_add_nothing():
    rng = np.random.default_rng(3)
    mean, var = rng.normal(size=(100, 2)), np.full((100, 2), 0.2)
    padded = total_correlation(np.column_stack([mean, np.zeros(100)]), np.column_stack([var, np.ones(100)]))
    # Other draws of the same two latents.
    assert padded == pytest.approx(total_correlation(mean, var), abs=0.3)


@pytest.mark.parametrize("var", [None, 0.2])
def test_a_latent_alone_depends_on_no_other(var):
    mean = np.column_stack([np.full(50, 0.1), np.random.default_rng(3).normal(size=50)])
    with pytest.raises(ValueError, match="1 of 2 latents vary: give 2 or more that do"):
        total_correlation(mean, None if var is None else np.full_like(mean, var))
    if var is not None:  # equal means, but not equal posteriors
        assert np.isfinite(total_correlation(mean, np.abs(mean[:, ::-1]) + 0.1))


def test_draws_from_some_cells_and_densities_of_all():
    rng = np.random.default_rng(4)
    mean = rng.normal(size=(600, 1)) * [1, 1]
    var = np.full_like(mean, 0.5)
    few = [total_correlation(mean, var, n_cells=200, seed=s) for s in range(20)]
    assert len(set(few)) == 20
    error = np.std(few) * np.sqrt(1 / 20 + 200 / 600)
    assert np.mean(few) == pytest.approx(total_correlation(mean, var), abs=4 * error)


@pytest.mark.parametrize(
    ("mean", "var", "message"),
    [
        (np.zeros(3), None, r"mean has shape \(3,\)"),
        (np.zeros((0, 3)), None, r"mean has shape \(0, 3\)"),
        (np.full((3, 2), np.nan), None, "not finite"),
        (np.random.default_rng(0).normal(size=(3, 3)), None, "3 cells for 3 latents"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "finite and positive"),
        (np.zeros((3, 2)), np.ones((3, 1)), "must be the same"),
    ],
)
def test_bad_input(mean, var, message):
    with pytest.raises(ValueError, match=message):
        total_correlation(mean, var)
