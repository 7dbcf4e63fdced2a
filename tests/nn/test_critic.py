import pytest
import torch

from scmichigan.losses import unit_slope_penalty, zero_slope_penalty
from scmichigan.nn import Critic


def make(norm, activation, *, scaled=True, head="projection"):
    torch.manual_seed(0)
    critic = Critic(9, 4, hidden=(16, 12, 6), head=head, norm=norm, activation=activation)
    if scaled:
        critic.input_scale.copy_(torch.rand(9) + 0.5)
        critic.condition_scale.copy_(torch.rand(4) + 0.5)
    return critic, torch.randn(20, 9), torch.randn(20, 4)


def slopes(critic, x, condition):
    """Scores and slopes by automatic differentiation of what forward gives."""
    x = x.clone().requires_grad_()
    score = critic(x, condition)
    return score, torch.autograd.grad(score.sum(), x, create_graph=True)[0]


EVERY = [
    pytest.mark.parametrize("head", ["projection", "concatenation", None]),
    pytest.mark.parametrize("norm", [None, "layer", "batch"]),
    pytest.mark.parametrize("activation", ["relu", "leaky_relu"]),
]


def every(test):
    for mark in EVERY:
        test = mark(test)
    return test


@every
def test_scores_and_slopes_are_those_of_forward(norm, activation, head):
    critic, x, condition = make(norm, activation, head=head)
    score, slope = critic.score_and_slope(x, condition)
    expected_score, expected_slope = slopes(critic, x, condition)
    torch.testing.assert_close(score, expected_score)
    torch.testing.assert_close(slope, expected_slope)
    assert not x.requires_grad


@every
@pytest.mark.parametrize("penalty", [zero_slope_penalty, unit_slope_penalty])
def test_penalties_have_the_gradients_of_double_backward(norm, activation, head, penalty):
    critic, x, condition = make(norm, activation, head=head)
    gradients = []
    for score, slope in (critic.score_and_slope(x, condition), slopes(critic, x, condition)):
        loss = score.square().mean() + penalty(slope)
        found = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
        gradients.append(dict(zip(dict(critic.named_parameters()), found, strict=True)))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=lambda m, name=name: f"{name}: {m}")
    assert gradients[0]["body.0.weight"].abs().sum() > 0
    assert head != "projection" or gradients[0]["projection.weight"].abs().sum() > 0


@pytest.mark.parametrize("head", ["projection", "concatenation", None])
def test_heads_look_at_the_condition_or_not(head):
    critic, x, condition = make(None, "leaky_relu", head=head)
    moved = critic(x, condition + 1) - critic(x, condition)
    assert (moved != 0).all() if head else (moved == 0).all()


def test_concatenation_is_the_body_of_cell_and_condition():
    critic, x, condition = make("layer", "relu", scaled=False, head="concatenation")
    h = critic.body(torch.cat([x, condition], dim=1))
    torch.testing.assert_close(critic(x, condition), critic.score(h).squeeze(1))


def test_codes_are_linear_in_what_the_body_makes_of_a_cell():
    torch.manual_seed(0)
    critic = Critic(9, 4, hidden=(16, 6), head=None, n_codes=3)
    x, condition = torch.randn(20, 9), torch.randn(20, 4)
    torch.testing.assert_close(critic.codes(x, condition), critic.body(x) @ critic.code.weight.T + critic.code.bias)
    assert Critic(9, 4).code is None


def test_scales_multiply_what_comes_in():
    critic, x, condition = make(None, "leaky_relu")
    plain, _, _ = make(None, "leaky_relu", scaled=False)
    plain.load_state_dict({k: v for k, v in critic.state_dict().items() if "scale" not in k}, strict=False)
    scaled = x * critic.input_scale, condition * critic.condition_scale
    torch.testing.assert_close(critic(x, condition), plain(*scaled))
    _, slope = critic.score_and_slope(x, condition)
    torch.testing.assert_close(slope, plain.score_and_slope(*scaled)[1] * critic.input_scale)


def test_slopes_are_finite_differences_of_the_scores():
    critic, x, condition = make(None, "leaky_relu")
    critic, x, condition = critic.double(), x.double(), condition.double()
    _, slope = critic.score_and_slope(x, condition)
    step = 1e-7  # no kink within it
    for gene in range(9):
        up = torch.zeros(9, dtype=torch.float64)
        up[gene] = step
        difference = (critic(x + up, condition) - critic(x - up, condition)) / (2 * step)
        torch.testing.assert_close(slope[:, gene], difference, atol=1e-6, rtol=1e-5)
