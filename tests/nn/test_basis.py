import numpy as np
import pytest
import torch
from scipy.special import softmax

from scmichigan.closed_form._poisson_log_normal import _basis, _centres
from scmichigan.nn import KernelBasis


def make(n_centres, *, offset=0.0, n=400):
    z = (np.random.default_rng(0).normal(size=(n, 3)) * [1, 2, 0.1] + offset).astype(np.float32)
    kernel = _centres(z, np.full_like(z, 0.01), n_centres, 0)
    basis = KernelBasis(3, n_centres)
    basis.set(*map(torch.as_tensor, kernel))
    return z, kernel, basis


@pytest.mark.parametrize("n_centres", [1, 2, 40])
def test_condition_comes_first_and_weights_sum_to_one(n_centres):
    z, _, basis = make(n_centres)
    columns = basis(torch.from_numpy(z))
    assert columns.shape == (400, basis.n_output) == (400, 3 + n_centres)
    torch.testing.assert_close(columns[:, :3], torch.from_numpy(z))
    torch.testing.assert_close(columns[:, 3:].sum(1), torch.ones(400))
    assert (columns[:, 3:] >= 0).all()


def test_weights_are_those_of_gaussian_kernels():
    z, (scale, centres, bandwidth), basis = make(25)
    distance = np.linalg.norm((z * scale)[:, None] - centres, axis=2)
    expected = softmax(-(distance**2) / (2 * bandwidth**2), axis=1)
    np.testing.assert_allclose(basis(torch.from_numpy(z))[:, 3:], expected, atol=1e-5)


def test_without_centres_the_condition_is_left_as_it_is():
    z, _, basis = make(0)
    assert torch.equal(basis(torch.from_numpy(z)), torch.from_numpy(z))
    assert basis.n_output == 3


def test_one_centre_adds_a_constant():
    z, _, basis = make(1)
    torch.testing.assert_close(basis(torch.from_numpy(z))[:, 3], torch.ones(400))


@pytest.mark.parametrize("offset", [0, 1000])
def test_fit_and_network_see_the_same_columns(offset):
    z, kernel, basis = make(40, offset=offset)
    np.testing.assert_allclose(basis(torch.from_numpy(z)), _basis(z, kernel), atol=1e-5)


def test_cells_far_from_all_centres_have_weights_too():
    z, _, basis = make(40)
    columns = basis(torch.from_numpy(np.float32(1e5 * z)))
    assert torch.isfinite(columns).all()
    torch.testing.assert_close(columns[:, 3:].sum(1), torch.ones(400))
