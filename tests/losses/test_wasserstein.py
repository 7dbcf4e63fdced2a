import pytest
import torch

from scmichigan.losses import critic_loss, generator_loss, gradient_penalty


def test_losses_are_differences_of_means():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert critic_loss(real, fake).item() == pytest.approx(-3.0)
    assert generator_loss(fake).item() == pytest.approx(1.0)


def test_penalty_of_a_linear_critic_is_that_of_its_slope():
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    real, fake = torch.randn(16, 2), torch.randn(16, 2)
    penalty = gradient_penalty(lambda x: x @ slope, real, fake)
    assert penalty.item() == pytest.approx((5.0 - 1.0) ** 2)
    penalty.backward()
    # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    torch.testing.assert_close(slope.grad, 2 * 4.0 * torch.tensor([0.6, 0.8]))


def test_penalty_is_taken_between_real_and_generated_cells():
    # The gradient of x^2 / 2 is x, so the penalty reveals where it was taken: x~ = w + (1 - w) 3 with one w a cell.
    real, fake = torch.ones(20_000, 1), torch.full((20_000, 1), 3.0)
    generator = torch.Generator().manual_seed(0)
    penalty = gradient_penalty(lambda x: 0.5 * x.square().sum(1), real, fake, generator=generator)
    # E (x~ - 1)^2 = 4 E (1 - w)^2 = 4/3, sd of 4 (1 - w)^2 is 1.19: four standard errors are 0.034.
    assert penalty.item() == pytest.approx(4 / 3, abs=0.034)


def test_penalty_leaves_the_generator_alone():
    fake = torch.randn(4, 3, requires_grad=True)
    weight = torch.randn(3, requires_grad=True)
    gradient_penalty(lambda x: torch.tanh(x @ weight), torch.randn(4, 3), fake).backward()
    assert fake.grad is None
    assert weight.grad.abs().sum() > 0
