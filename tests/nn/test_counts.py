import numpy as np
import pytest
import torch
from scipy.stats import poisson

from scmichigan.nn import poisson_log_normalized


def test_values_are_those_of_poisson_counts():
    rate = torch.rand(200, 30, generator=torch.Generator().manual_seed(0)) * 5
    size = torch.linspace(10, 1000, 200)[:, None]
    torch.manual_seed(1)
    x = poisson_log_normalized(rate, size, target_sum=1e4)
    torch.manual_seed(1)
    torch.testing.assert_close(x, torch.log1p(1e4 * torch.poisson(rate) / size))
    torch.manual_seed(1)
    with_gradient = poisson_log_normalized(rate.clone().requires_grad_(), size, target_sum=1e4)
    torch.testing.assert_close(with_gradient.detach(), x)


def test_by_their_own_sum_counts_sum_to_the_target():
    x = poisson_log_normalized(torch.full((50, 20), 2.0), None, target_sum=1e4)
    torch.testing.assert_close(torch.expm1(x).sum(1), torch.full((50,), 1e4))
    empty = poisson_log_normalized(torch.zeros(3, 20), None, target_sum=1e4)
    assert (empty == 0).all()


@pytest.mark.parametrize("rate", [0.01, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_gradient_is_that_of_the_expectation(rate, scale):
    n = 200_000
    torch.manual_seed(0)
    rates = torch.full((n, 1), rate, requires_grad=True)
    poisson_log_normalized(rates, torch.ones(n, 1), target_sum=scale).sum().backward()
    gradient = rates.grad.double().numpy()
    # E f(c) by enumeration of the probabilities, and its derivative as the difference of two rates near by
    c = np.arange(200)

    def expectation(r):
        return (poisson.pmf(c, r) * np.log1p(scale * c)).sum()

    step = 1e-4 * rate
    derivative = (expectation(rate + step) - expectation(rate - step)) / (2 * step)
    # 5 standard errors, and single precision
    assert gradient.mean() == pytest.approx(derivative, abs=5 * gradient.std() / np.sqrt(n) + 1e-5 * derivative)


def test_rates_that_are_no_numbers_reach_the_values():
    rate = torch.tensor([[1.0, torch.nan, 0.0]])
    for r in (rate, rate.clone().requires_grad_()):
        x = poisson_log_normalized(r, torch.ones(1, 1), target_sum=1e4)
        assert x.isnan().tolist() == [[False, True, False]]
