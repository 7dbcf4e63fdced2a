import pytest
import torch

from scmichigan.losses import (
    relativistic_critic_loss,
    relativistic_generator_loss,
    unit_slope_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
    zero_slope_penalty,
)


def test_wasserstein_losses_are_differences_of_means():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert wasserstein_critic_loss(real, fake).item() == pytest.approx(-3.0)
    assert wasserstein_generator_loss(fake).item() == pytest.approx(1.0)


def test_relativistic_losses_are_those_of_a_logistic_regression_on_differences():
    real, fake = 3 * torch.randn(50), 3 * torch.randn(50)
    ones = torch.ones(50)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(relativistic_critic_loss(real, fake), entropy(real - fake, ones))
    torch.testing.assert_close(relativistic_generator_loss(real, fake), entropy(fake - real, ones))


def test_relativistic_losses_are_one_with_the_players_exchanged():
    real, fake = torch.randn(50), torch.randn(50)
    torch.testing.assert_close(relativistic_generator_loss(real, fake), relativistic_critic_loss(fake, real))
    # Scores that tell nothing cost log 2 each; a constant on all scores costs nothing.
    torch.testing.assert_close(relativistic_critic_loss(real, real), torch.tensor(2.0).log())
    torch.testing.assert_close(relativistic_critic_loss(real + 5, fake + 5), relativistic_critic_loss(real, fake))


def test_relativistic_losses_of_sure_critics_are_finite():
    real, fake = torch.tensor([1e4]), torch.tensor([-1e4])
    assert relativistic_critic_loss(real, fake).item() == 0
    assert relativistic_generator_loss(real, fake).item() == pytest.approx(2e4)


def linear_critic():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    return weight, weight.expand(16, 2)


def test_unit_slope_penalty_of_a_linear_critic_is_that_of_its_slope():
    weight, slopes = linear_critic()
    penalty = unit_slope_penalty(slopes)
    assert penalty.item() == pytest.approx((5.0 - 1.0) ** 2)
    penalty.backward()
    # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    torch.testing.assert_close(weight.grad, 2 * 4.0 * torch.tensor([0.6, 0.8]))


def test_zero_slope_penalty_of_a_linear_critic_is_that_of_its_slope():
    weight, slopes = linear_critic()
    penalty = zero_slope_penalty(slopes)
    assert penalty.item() == pytest.approx(25.0)
    penalty.backward()
    torch.testing.assert_close(weight.grad, torch.tensor([6.0, 8.0]))


def test_penalties_are_means_over_cells():
    slopes = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    assert unit_slope_penalty(slopes).item() == pytest.approx((16 + 0 + 1) / 3)
    assert zero_slope_penalty(slopes).item() == pytest.approx((25 + 1 + 0) / 3)
