import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from scmichigan.losses import stratified_log_weights, total_correlation_parts


@pytest.fixture
def posteriors():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(400, 3)) * [1.0, 0.5, 2.0]
    scale = rng.uniform(0.1, 0.8, size=(400, 3))
    return mean, scale


def exact_log_densities(z, mean, scale):
    """log q(z_i), sum_k log q(z_ik) and log q(z_i | x_i) by full enumeration over all posteriors."""
    logq_ijk = norm.logpdf(z[:, None], mean[None], scale[None])
    joint = logsumexp(logq_ijk.sum(-1), axis=1) - math.log(len(mean))
    product = (logsumexp(logq_ijk, axis=1) - math.log(len(mean))).sum(-1)
    return joint, product


@pytest.mark.parametrize(("n_minibatch", "n_obs"), [(2, 2), (2, 400), (8, 400), (128, 128), (128, 13_000)])
def test_every_row_of_the_weights_sums_to_one(n_minibatch, n_obs):
    weights = stratified_log_weights(n_minibatch, n_obs, dtype=torch.float64).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(n_minibatch, dtype=torch.float64))
    torch.testing.assert_close(weights.diagonal(), torch.full((n_minibatch,), 1 / n_obs, dtype=torch.float64))


@pytest.mark.parametrize(("n_minibatch", "n_obs"), [(1, 10), (11, 10)])
def test_impossible_minibatches_are_refused(n_minibatch, n_obs):
    with pytest.raises(ValueError, match="change batch_size"):
        stratified_log_weights(n_minibatch, n_obs)


def test_stratified_estimate_of_the_aggregate_density_is_unbiased_over_all_minibatches():
    # Every ordered minibatch of 3 out of 6 cells that starts with cell 0 is enumerated, so the mean is exact.
    rng = np.random.default_rng(1)
    mean, scale = rng.normal(size=(6, 1)), rng.uniform(0.2, 1.0, size=(6, 1))
    z = mean[0] + 0.3
    density = norm.pdf(z, mean, scale).ravel()
    weights = stratified_log_weights(3, 6, dtype=torch.float64).exp().numpy()
    estimates = [weights[0] @ density[[0, *others]] for others in itertools.permutations(range(1, 6), 2)]
    assert np.mean(estimates) == pytest.approx(density.mean(), rel=1e-12)


def test_estimate_at_eight_of_400_posteriors_agrees_with_full_enumeration(posteriors):
    mean, scale = posteriors
    rng = np.random.default_rng(2)
    z = mean + scale * rng.normal(size=mean.shape)
    density_ij = np.exp(norm.logpdf(z[:, None], mean[None], scale[None]).sum(-1))
    exact = density_ij.mean()
    weights = stratified_log_weights(8, 400, dtype=torch.float64).exp().numpy()
    estimates = []
    for _ in range(4000):
        rows = rng.choice(400, 8, replace=False)
        estimates.append((weights * density_ij[np.ix_(rows, rows)]).sum(1).mean())
    # Independent minibatches: four standard errors of their mean.
    tolerance = 4 * np.std(estimates) / math.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(exact, abs=tolerance)
    assert tolerance < 0.1 * exact
    # Filling columns instead of the diagonal, as popular snippets do, overstates the density far beyond that.
    wrong = np.full((8, 8), 1 / 7)
    wrong[:, 0], wrong[:, 1] = 1 / 400, (400 - 7) / (400 * 7)
    chosen = [rng.choice(400, 8, replace=False) for _ in range(4000)]
    overstated = [(wrong * density_ij[np.ix_(rows, rows)]).sum(1).mean() for rows in chosen]
    assert np.mean(overstated) > exact + 2 * tolerance


def test_parts_agree_with_full_enumeration_when_the_minibatch_is_the_data(posteriors):
    mean, scale = posteriors
    z = mean + scale * np.random.default_rng(3).normal(size=mean.shape)
    parts = total_correlation_parts(*(torch.from_numpy(a) for a in (z, mean, scale)), n_obs=len(z))
    joint, product = exact_log_densities(z, mean, scale)
    given_x = norm.logpdf(z, mean, scale).sum(-1)
    prior = norm.logpdf(z).sum(-1)
    # With B = N every cell weighs 1/N but for one that weighs 1/(N (N-1)) and the others 1/(N-1), so single estimates
    # differ from the enumeration by the weight of one neighbour: the mean over cells agrees to about 1/N.
    for part, exact in zip(parts, (given_x - joint, joint - product, product - prior), strict=True):
        assert part.shape == (400,)
        assert part.mean().item() == pytest.approx(exact.mean(), abs=0.02)


def test_parts_sum_to_the_kl_divergence(posteriors):
    mean, scale = (torch.from_numpy(a) for a in posteriors)
    torch.manual_seed(0)
    qz = Normal(mean, scale)
    z = qz.rsample()
    total = sum(total_correlation_parts(z, mean, scale, n_obs=5000))
    # Identity in every cell: the estimated densities cancel.
    torch.testing.assert_close(total, (qz.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1))
    exact = kl_divergence(qz, Normal(0.0, 1.0)).sum(-1)
    # One draw for each cell: four standard errors of the mean of their differences.
    tolerance = 4 * (total - exact).std().item() / math.sqrt(len(total))
    assert total.mean().item() == pytest.approx(exact.mean().item(), abs=tolerance)


def test_total_correlation_of_a_correlated_gaussian_approaches_its_closed_form():
    # Posteriors so narrow that the aggregate is the distribution of the means: TC = -log(1 - rho^2) / 2. The kernel of
    # width 0.15 turns covariance rho into rho / (1 + 0.15^2).
    rho, width, n = 0.9, 0.15, 3000
    rng = np.random.default_rng(4)
    mean = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n)
    z = mean + width * rng.normal(size=mean.shape)
    scale = np.full_like(mean, width)
    parts = total_correlation_parts(*(torch.from_numpy(a) for a in (z, mean, scale)), n_obs=n)
    expected = -0.5 * math.log(1 - (rho / (1 + width**2)) ** 2)
    # Standard error 0.02 (sd of a cell's estimate about 1, n = 3000); the kernel estimate adds a bias below 0.05.
    assert parts.total_correlation.mean().item() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("width", [1.0, 0.1, 0.001], ids="posterior deviation {}".format)
def test_parts_and_their_gradients_are_those_of_automatic_differentiation(width):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(24, 3))
    scale = width * rng.uniform(0.5, 2.0, size=mean.shape)
    z = mean + scale * rng.normal(size=mean.shape)
    inputs = [torch.from_numpy(a).requires_grad_() for a in (z, mean, scale)]
    weights = torch.from_numpy(rng.normal(size=(3, 24)))  # of the parts in the sum that is differentiated

    def by_definition(z, mean, scale):
        logw = stratified_log_weights(len(z), 1000, dtype=z.dtype)
        logq = Normal(mean, scale).log_prob(z[:, None])
        joint = (logw + logq.sum(2)).logsumexp(1)
        product = (logw[:, :, None] + logq).logsumexp(1).sum(1)
        prior = Normal(0.0, 1.0).log_prob(z).sum(1)
        return logq.sum(2).diagonal() - joint, joint - product, product - prior

    ours, theirs = torch.stack(total_correlation_parts(*inputs, n_obs=1000)), torch.stack(by_definition(*inputs))
    torch.testing.assert_close(ours, theirs)
    for of_ours, of_theirs in zip(
        torch.autograd.grad((weights * ours).sum(), inputs),
        torch.autograd.grad((weights * theirs).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(of_ours, of_theirs)
