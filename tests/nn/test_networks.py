import numpy as np
import pytest
import torch

from scmichigan.nn import MLP, ClosedFormGenerator, Critic, encode_covariates, log_normalize


def test_started_generator_is_linear_gaussian_up_to_its_small_network():
    torch.manual_seed(0)
    generator = ClosedFormGenerator(3, 20, n_noise=5, hidden=(16, 16), output=None)
    weight, bias, loadings = torch.randn(20, 3), torch.randn(20), torch.randn(20, 5)
    generator.start(weight, bias, loadings)
    c, eps = torch.randn(50, 3), torch.randn(50, 5)
    expected = c @ weight.T + bias + eps @ loadings.T
    difference = generator(c, eps) - expected
    # One hundredth of a default layer on 16 inputs of unit size: uniform within 1/4, so below 0.01 * 16 / 4 * 3.
    assert 0 < difference.abs().max() < 0.12
    assert difference.abs().max() < 0.05 * expected.std()


@pytest.mark.parametrize(("output", "floor"), [("relu", 0.0), ("softplus", 0.0), (None, -np.inf)])
def test_output_activation(output, floor):
    torch.manual_seed(0)
    x = ClosedFormGenerator(2, 10, n_noise=4, hidden=(8,), output=output)(3 * torch.randn(64, 2), torch.randn(64, 4))
    assert x.min() >= floor
    assert (x.min() < 0) == (output is None)


def test_without_linear_parts_the_generator_is_the_network_alone():
    generator = ClosedFormGenerator(2, 6, n_noise=4, hidden=(8,), linear_parts=False, output=None)
    c, eps = torch.randn(5, 2), torch.randn(5, 4)
    torch.testing.assert_close(generator(c, eps), generator.network(torch.cat([c, eps], 1)))
    assert {name.split(".")[0] for name, _ in generator.named_parameters()} == {"network"}


@pytest.mark.parametrize("n_condition", [1, 3, 12])
def test_projection_head_fits_any_condition(n_condition):
    critic = Critic(7, n_condition, hidden=(16, 10))
    x, c = torch.randn(9, 7), torch.randn(9, n_condition)
    h = critic.body(torch.nn.functional.pad(x, (0, 9)))  # to a multiple of 16
    expected = h @ critic.score.weight[0] + critic.score.bias + ((c @ critic.projection.weight.T) * h).sum(1)
    torch.testing.assert_close(critic(x, c), expected)


def test_score_is_affine_in_the_condition():
    critic = Critic(7, 4, hidden=(16, 10))
    x, a, b = torch.randn(9, 7), torch.randn(9, 4), torch.randn(9, 4)
    torch.testing.assert_close(critic(x, (a + b) / 2), (critic(x, a) + critic(x, b)) / 2)


def test_mlp_layers_are_linear_norm_activation_dropout():
    names = [type(layer).__name__ for layer in MLP(4, (8, 3), norm="batch", dropout=0.2)]
    assert names == ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"] * 2


def test_log_normalize_against_numpy():
    counts = np.random.default_rng(0).poisson(3, size=(5, 8)).astype(np.float32) + 1
    totals = np.array([[10.0], [20.0], [30.0], [40.0], [50.0]], dtype=np.float32)
    given = log_normalize(torch.from_numpy(counts), torch.from_numpy(totals), target_sum=1e4)
    np.testing.assert_allclose(given, np.log1p(counts / totals * 1e4), rtol=1e-5)
    summed = log_normalize(torch.from_numpy(counts), None, target_sum=100.0)
    np.testing.assert_allclose(np.expm1(summed.numpy()).sum(1), 100.0, rtol=1e-4)


def test_covariates_are_one_hot_and_single_levels_have_no_column():
    batch, cats = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    encoded = encode_covariates(batch, cats, torch.tensor([[0.5], [-1.0]]), n_batch=3, n_cats_per_cov=[1, 2])
    assert encoded.tolist() == [[1, 0, 0, 0, 1, 0.5], [0, 0, 1, 1, 0, -1.0]]
    assert encode_covariates(batch, None, None, n_batch=1, n_cats_per_cov=[]).shape == (2, 0)
