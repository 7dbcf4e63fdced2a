import pytest
import torch

from scmichigan.losses import unit_slope_penalty, zero_slope_penalty
from scmichigan.nn import MLP, Critic


def make(norm, *, scaled=True, head="projection", n_components=0, n_codes=0):
    torch.manual_seed(0)
    settings = {"head": head, "n_components": n_components, "n_codes": n_codes, "norm": norm}
    critic = Critic(9, 4, hidden=(16, 12, 6), **settings).double()
    torch.nn.init.normal_(critic.components)
    for module in critic.body:
        if norm is not None and hasattr(module, "eps"):  # weights of norms start at 1 and 0, which could hide mistakes
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    if scaled:
        critic.input_scale.copy_(torch.rand(9) + 0.5)
        critic.condition_scale.copy_(torch.rand(4) + 0.5)
    return critic, *(torch.randn(20, n, dtype=torch.float64) for n in (9, 9, 4))


def by_double_backward(critic, real, fake, condition, *, mixing):
    """Scores and slopes by automatic differentiation of what forward gives, statistics of batch norm being given."""
    points = (real, fake) if mixing is None else [mixing * real + (1 - mixing) * fake]
    points = [x.clone().requires_grad_() for x in points]
    at_points = critic(torch.stack([real, *points]), condition)[1:]
    slopes = torch.autograd.grad(at_points.sum(), points, create_graph=True)
    return *critic(torch.stack([real, fake]), condition), torch.stack(slopes)


@pytest.mark.parametrize("head", ["projection", "concatenation", None])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("penalty", [zero_slope_penalty, unit_slope_penalty])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_scores_and_slopes_have_the_values_and_gradients_of_double_backward(norm, penalty, mixed, head):
    critic, real, fake, condition = make(norm, head=head, n_components=5)
    mixing = torch.rand(20, 1, dtype=torch.float64) if mixed else None
    results = []
    for score_real, score_fake, slopes in (
        critic.scores_and_slopes(real, fake, condition, mixing=mixing),
        by_double_backward(critic, real, fake, condition, mixing=mixing),
    ):
        loss = score_real.square().mean() + score_fake.exp().mean() + 3 * sum(map(penalty, slopes))
        gradients = torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)
        results.append((score_real, score_fake, slopes, *gradients))
    names = ["score_real", "score_fake", "slopes", *dict(critic.named_parameters())]
    for name, ours, expected in zip(names, *results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")
    found = dict(zip(names, results[0], strict=True))
    assert found["body.0.weight"].abs().sum() > 0
    assert head != "projection" or found["projection.weight"].abs().sum() > 0


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_slopes_at_some_cells_are_those_of_all_at_these(norm):
    critic, real, fake, condition = make(norm, n_components=5)
    *scores, slopes = critic.scores_and_slopes(real, fake, condition)
    *same, some = critic.scores_and_slopes(real, fake, condition, n_sloped=7)
    torch.testing.assert_close(same, scores)
    torch.testing.assert_close(some, slopes[:, :7])


def test_components_are_seen_beside_the_genes():
    critic, x, _, condition = make(None, scaled=False, n_components=5)
    seen = torch.cat([x, x @ critic.components, torch.zeros(20, 16 - 9 - 5)], dim=1)
    direction = critic.score.weight + critic.projection(condition)
    torch.testing.assert_close(critic(x, condition), (critic.body(seen) * direction).sum(1) + critic.score.bias)


@pytest.mark.parametrize("head", ["projection", "concatenation", None])
def test_heads_look_at_the_condition_or_not(head):
    critic, x, _, condition = make(None, head=head)
    moved = critic(x, condition + 1) - critic(x, condition)
    assert (moved != 0).all() if head else (moved == 0).all()


def test_projection_starts_as_published_where_it_fits():
    critic, (x, condition) = Critic(9, 4, hidden=(16, 4)), torch.randn(2, 20, 9).double()
    critic, condition = critic.double(), condition[:, :4]
    h = critic.body(torch.nn.functional.pad(x, (0, 7)))
    published = (h * critic.score.weight).sum(1) + (h * condition).sum(1) + critic.score.bias
    torch.testing.assert_close(critic(x, condition), published)


def test_concatenation_is_the_body_of_cell_and_condition():
    critic, x, _, condition = make("layer", scaled=False, head="concatenation")
    together = torch.cat([x, condition, torch.zeros(20, 16 - 9 - 4)], dim=1)  # padded to a multiple of 16
    torch.testing.assert_close(critic(x, condition), critic.score(critic.body(together)).squeeze(1))


def test_codes_are_linear_in_what_the_body_makes_of_a_cell():
    critic, x, _, condition = make(None, scaled=False, head=None, n_codes=3)
    h = critic.body(torch.cat([x, torch.zeros(20, 16 - 9)], dim=1))
    torch.testing.assert_close(critic.codes(x, condition), h @ critic.code.weight.T + critic.code.bias)
    assert Critic(9, 4).code is None


def test_scales_multiply_what_comes_in():
    critic, real, fake, condition = make(None)
    plain, *_ = make(None, scaled=False)
    plain.load_state_dict({k: v for k, v in critic.state_dict().items() if "scale" not in k}, strict=False)
    scaled = critic.input_scale, critic.input_scale, critic.condition_scale
    for x in (real, fake):
        torch.testing.assert_close(critic(x, condition), plain(x * scaled[0], condition * scaled[2]))


def test_slopes_are_finite_differences_of_the_scores():
    critic, real, fake, condition = make(None)
    _, _, slopes = critic.scores_and_slopes(real, fake, condition)
    step = 1e-7  # no kink within it
    for x, slope in zip((real, fake), slopes, strict=True):
        for gene in range(9):
            up = torch.zeros(9, dtype=torch.float64)
            up[gene] = step
            difference = (critic(x + up, condition) - critic(x - up, condition)) / (2 * step)
            torch.testing.assert_close(slope[:, gene], difference, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mixed", [False, True])
def test_batch_norm_has_the_statistics_of_real_cells(mixed):
    critic, real, fake, condition = make("batch")
    plain = MLP(16, (16, 12, 6)).double()  # torch's own batch norm, which sees real cells alone
    plain.load_state_dict(critic.body.state_dict())
    mixing = torch.rand(20, 1, dtype=torch.float64) if mixed else None
    score_real, score_fake, _ = critic.scores_and_slopes(real, fake, condition, mixing=mixing)
    head = critic.score.weight + critic.projection(condition * critic.condition_scale)
    seen = torch.cat([real * critic.input_scale, torch.zeros(20, 7)], dim=1)
    torch.testing.assert_close(score_real, (plain(seen) * head).sum(1) + critic.score.bias)
    for name, buffer in critic.body.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name))
    few = slice(5)  # no generated cell's score depends on another's
    score_of_few = critic(torch.stack([real, torch.cat([fake[few], real[5:]])]), condition)[1, few]
    torch.testing.assert_close(score_of_few, score_fake[few])
    critic.eval()
    both = critic(torch.stack([real, fake]), condition)
    torch.testing.assert_close(both, torch.stack([critic(real, condition), critic(fake, condition)]))


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_what_all_generated_cells_have_in_common_is_seen(norm):
    # Batch norm of generated cells by themselves would take it away, and their mean could not be learned.
    critic, real, fake, condition = make(norm)
    shift = torch.randn(9, dtype=torch.float64).requires_grad_()

    def scores(fake):
        return critic(torch.stack([real, fake]), condition)

    for scores_of in (scores, lambda fake: critic.scores_and_slopes(real, fake, condition)[:2]):
        near, far = (scores_of(fake + by) for by in (0, shift.detach()))
        assert (near[1] - near[0].mean() - (far[1] - far[0].mean())).abs().max() > 0.01
    (gradient,) = torch.autograd.grad(scores(fake + shift)[1].mean(), shift)
    assert gradient.abs().max() > 1e-3
