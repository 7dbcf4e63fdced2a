import numpy as np
import pytest

from scmichigan.combinations._best_linear import best_linear_weights

N_GENES = 20000


def _brownian(position):
    """Covariance of Brownian motion at points of a line, about its mean over them."""
    distance = np.abs(np.subtract.outer(position, position))
    centring = np.eye(len(position)) - 1 / len(position)
    return -centring @ distance @ centring / 2


def _observed(mean, noise, target):
    """Arguments of the function for a table of means (contexts x levels x genes) without its target."""
    context, level = (codes.ravel() for codes in np.indices(mean.shape[:2]))
    seen = (context != target[0]) | (level != target[1])
    means = mean[context[seen], level[seen]]
    return (means @ means.T, np.full(seen.sum(), noise * means.shape[1]), context[seen], level[seen]), means


def test_weights_are_those_of_a_regression_on_genes_of_the_same_model():
    # Contexts on a line and far from each other, for their distances to be known; all levels alike. What is expected of
    # the target given the observed means is their regression on genes, within contexts.
    rng = np.random.default_rng(0)
    position, n_levels, target, noise = np.array([0.0, 1, 2.5, 4, 7]), 3, (2, 1), 0.3
    particular = np.kron(_brownian(position), np.eye(n_levels) - 1 / n_levels)
    values, vectors = np.linalg.eigh(particular)
    samples = rng.normal(size=(len(values), N_GENES)) * np.sqrt(np.maximum(values, 0))[:, None]
    effects = (vectors @ samples).reshape(len(position), n_levels, N_GENES) + rng.normal(size=(n_levels, N_GENES))
    truth = effects.copy()
    truth[..., 0] = 1e5 * position[:, None]
    arguments, means = _observed(truth + np.sqrt(noise) * rng.normal(size=truth.shape), noise, target)
    weights = best_linear_weights(*arguments, target=target)

    of_context = arguments[2][:, None] == np.arange(len(position))
    averages = of_context / of_context.sum(axis=0) @ of_context.T  # of the means of each context
    own = averages[np.argmax(arguments[2] == target[0])]
    within, answer = (means - averages @ means)[:, 1:], (truth[target] - own @ means)[1:]
    free, *_ = np.linalg.lstsq(within.T, answer, rcond=None)
    # Standard errors of the coefficients are 1 / sqrt(20,000) times a residual over contrasts of about its size: 0.007.
    np.testing.assert_allclose(weights, free - averages @ free + own, atol=0.05)


def _table(n_contexts, n_levels, n_genes=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_contexts, 1, n_genes)) + rng.normal(size=(1, n_levels, n_genes))


@pytest.mark.parametrize("target", [(0, 1), (2, 0)])
def test_additive_means_are_predicted_exactly(target):
    mean = _table(3, 4)
    arguments, means = _observed(mean, 0.0, target)
    weights = best_linear_weights(*arguments, target=target)
    context = arguments[2]
    for c in range(3):
        assert weights[context == c].sum() == pytest.approx(float(c == target[0]), abs=1e-6)
    # Without noise and particular effects: all but what the finite variance of the common effects takes off.
    assert np.linalg.norm(weights @ means - mean[target]) < 0.4 * np.linalg.norm(mean[target] - mean[target[0], 3])


def test_one_context_and_two_levels_are_the_parallelogram():
    mean = _table(2, 2)
    arguments, _ = _observed(mean, 0.0, (0, 1))
    # seen: (0, 0), (1, 0), (1, 1)
    np.testing.assert_allclose(best_linear_weights(*arguments, target=(0, 1)), [1, -1, 1], atol=1e-3)


def test_what_is_noise_is_not_carried_over():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(3, 1, 4000)) + rng.normal(size=(3, 5, 4000))
    arguments, _ = _observed(mean, 1.0, (0, 1))
    weights = best_linear_weights(*arguments, target=(0, 1))
    # All that is known of the target is its context, in four means of the same noise.
    np.testing.assert_allclose(weights[arguments[2] == 0], 0.25, atol=0.05)
    np.testing.assert_allclose(weights[arguments[2] != 0], 0, atol=0.05)


def test_a_similar_context_counts_more():
    rng = np.random.default_rng(0)
    place = np.array([0.0, 1, 10])[:, None, None] * rng.normal(size=(1, 1, 500))
    effect = np.array([0, 1.0])[None, :, None] * (rng.normal(size=(1, 1, 500)) + 0.5 * rng.normal(size=(3, 1, 500)))
    arguments, _ = _observed(place + effect, 1e-4, (0, 1))
    weights = best_linear_weights(*arguments, target=(0, 1))
    at = {pair: w for *pair, w in zip(*arguments[2:], weights, strict=True) for pair in [tuple(pair)]}
    assert at[1, 1] > 2 * at[2, 1]
    assert at[0, 0] == pytest.approx(1)


def test_opposed_effects_do_not_turn_the_prediction_round():
    rng = np.random.default_rng(0)
    place, effect = rng.normal(size=(3, 1, 100)), rng.normal(size=100)
    mean = np.repeat(place, 2, axis=1)
    mean[1, 1] += effect
    mean[2, 1] -= 0.5 * effect
    arguments, means = _observed(mean, 1e-6, (0, 1))
    weights = best_linear_weights(*arguments, target=(0, 1))
    assert (weights @ means - mean[0, 0]) @ effect >= -1e-6


def test_means_that_are_all_the_same():
    arguments, _ = _observed(np.ones((3, 3, 20)), 1.0, (1, 2))
    weights = best_linear_weights(*arguments, target=(1, 2))
    np.testing.assert_allclose(weights, (arguments[2] == 1) / 2, atol=1e-6)


def test_incomplete_tables_and_single_partners():
    mean = _table(4, 4)
    arguments, means = _observed(mean, 1e-3, (0, 3))
    gram, noise, context, level = arguments
    kept = ~(((context == 1) & (level == 0)) | ((context == 2) & (level == 1)) | ((context == 3) & (level < 2)))
    weights = best_linear_weights(gram[np.ix_(kept, kept)], noise[kept], context[kept], level[kept], target=(0, 3))
    assert np.isfinite(weights).all()
    change = mean[0, 3] - mean[0, :3].mean(axis=0)
    assert np.linalg.norm(weights @ means[kept] - mean[0, 3]) < 0.6 * np.linalg.norm(change)
