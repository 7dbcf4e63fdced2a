import math

import pytest
import torch
from scvi import REGISTRY_KEYS

from scmichigan._keys import LATENT_MEAN_TENSOR, LATENT_VAR_TENSOR
from scmichigan.losses import ADVERSARIAL_LOSSES, AdversarialLoss, zero_slope_penalty
from scmichigan.module import CellFormat, GANSettings, MichiGANModule

LOGGED = CellFormat(counts=False)


def make_module(cells=LOGGED, **settings):
    torch.manual_seed(0)
    settings = {"n_noise": 4, "generator_hidden": (16,), "critic_hidden": (16, 5)} | settings
    return MichiGANModule(12, 3, settings=GANSettings(**settings), cells=cells)


def make_counting_module(**settings):
    """Module of counts with registered totals, which are scaled to 1,000."""
    return make_module(CellFormat(has_totals=True, target_sum=1e3), observation="poisson", **settings)


def make_tensors(n=32, *, var=False):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.rand(n, 12, generator=generator),
        REGISTRY_KEYS.BATCH_KEY: torch.arange(n)[:, None] % 2,
        LATENT_MEAN_TENSOR: torch.randn(n, 3, generator=generator),
    }
    return tensors | ({LATENT_VAR_TENSOR: torch.rand(n, 3, generator=generator)} if var else {})


def run(module, tensors, player):
    inference = module.inference(**module._get_inference_input(tensors))
    return module.loss(tensors, inference, module.generative(inference["condition"]), player=player)


def test_condition_is_the_mean_and_the_batch():
    module, tensors = make_module(CellFormat(counts=False, n_batch=2)), make_tensors()
    out = module.inference(**module._get_inference_input(tensors))
    torch.testing.assert_close(out["condition"][:, :3], tensors[LATENT_MEAN_TENSOR])
    torch.testing.assert_close(out["condition"][:, 3:].argmax(1), tensors[REGISTRY_KEYS.BATCH_KEY][:, 0])


def test_with_a_variance_every_visit_draws_a_new_latent():
    module, tensors = make_module(), make_tensors(n=20_000, var=True)
    first, second = (module.inference(**module._get_inference_input(tensors))["z"] for _ in range(2))
    assert (first != second).any(1).all()
    # (z - mean)^2 / var has mean 1 and variance 2: five standard errors over 60,000 entries are 0.029.
    squared = (first - tensors[LATENT_MEAN_TENSOR]).square() / tensors[LATENT_VAR_TENSOR]
    assert squared.mean().item() == pytest.approx(1, abs=0.029)


@pytest.mark.parametrize("critic_norm", [None, "batch", "layer"])
def test_critic_loss_is_the_sum_of_its_parts(critic_norm):
    module = make_module(critic_norm=critic_norm, penalty_weight=7.0, loss="wgan-gp")
    output = run(module, make_tensors(), "critic")
    parts = output.extra_metrics
    torch.testing.assert_close(output.loss, -parts["score_gap"] + 7 * parts["gradient_penalty"])


@pytest.mark.parametrize("critic_norm", [None, "batch", "layer"])
def test_losses_of_pairs(critic_norm):
    module, tensors = make_module(critic_norm=critic_norm, penalty_weight=0.3), make_tensors()
    inference = module.inference(**module._get_inference_input(tensors))
    fake, condition = module.generative(inference["condition"]), inference["condition"]
    real = tensors[REGISTRY_KEYS.X_KEY]
    points = [real.clone().requires_grad_(), fake["x"].detach().requires_grad_()]
    scores = module.critic(torch.stack([real, *points]), condition)[1:]
    slopes = torch.autograd.grad(scores.sum(), points, retain_graph=True)
    output = module.loss(tensors, inference, fake, player="critic")
    # log(1 + exp(fake - real)), and R1 and R2 of every fourth cell
    n_sloped = -(-len(condition) // 4)
    penalty = sum(slope[:n_sloped].square().sum(1).mean() for slope in slopes)
    torch.testing.assert_close(output.extra_metrics["gradient_penalty"], penalty)
    expected = torch.log1p(torch.exp(scores[1] - scores[0])).mean() + 0.3 * penalty
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.extra_metrics["score_gap"], (scores[0] - scores[1]).mean())
    generator_loss = module.loss(tensors, inference, fake, player="generator").loss
    torch.testing.assert_close(generator_loss, torch.log1p(torch.exp(scores[0] - scores[1])).mean())


def test_published_penalty_is_at_mixes_of_one_uniform_weight_a_cell():
    module, n, found = make_module(loss="wgan-gp"), 20_000, []
    compute = module.critic.scores_and_slopes
    module.critic.scores_and_slopes = lambda *args, mixing, **kwargs: (
        found.append(mixing) or compute(*args, mixing=mixing, **kwargs)
    )
    run(module, make_tensors(n), "critic")
    (share,) = found
    assert share.shape == (n, 1)
    assert ((share >= 0) & (share <= 1)).all()
    # Uniform weights: mean 1/2 with sd 1/sqrt(12), second moment 1/3 with sd 0.298; four standard errors of each.
    assert share.mean().item() == pytest.approx(1 / 2, abs=0.0082)
    assert share.square().mean().item() == pytest.approx(1 / 3, abs=0.0085)


@pytest.mark.parametrize("cells_per_slope", [1, 5])
@pytest.mark.parametrize("needs_real", [False, True])
def test_a_loss_of_ones_own_is_a_row(monkeypatch, needs_real, cells_per_slope):
    seen = []

    def generator_loss(score_real, score_fake):
        seen.append(score_real)
        return -score_fake.mean()

    hinge = AdversarialLoss(
        lambda real, fake: (1 - real).relu().mean() + (1 + fake).relu().mean(),
        generator_loss,
        zero_slope_penalty,
        penalty_weight=0.2,
        at_mixes=False,
        cells_per_slope=cells_per_slope,
        needs_real=needs_real,
    )
    monkeypatch.setitem(ADVERSARIAL_LOSSES, "hinge", hinge)
    module, tensors = make_module(loss="hinge"), make_tensors()
    inference = module.inference(**module._get_inference_input(tensors))
    fake, condition = module.generative(inference["condition"]), inference["condition"]
    points = [tensors[REGISTRY_KEYS.X_KEY].requires_grad_(), fake["x"].detach().requires_grad_()]
    real_score, fake_score = (module.critic(x, condition) for x in points)
    slopes = torch.autograd.grad(real_score.sum() + fake_score.sum(), points)
    n_sloped = -(-32 // cells_per_slope)
    penalty = sum(slope[:n_sloped].square().sum() / n_sloped for slope in slopes)
    expected = (1 - real_score).clamp_min(0).mean() + (1 + fake_score).clamp_min(0).mean() + 0.2 * penalty
    torch.testing.assert_close(module.loss(tensors, inference, fake, player="critic").loss, expected)
    torch.testing.assert_close(module.loss(tensors, inference, fake, player="generator").loss, -fake_score.mean())
    (of_real,) = seen
    assert (of_real is not None) == needs_real
    if needs_real:
        torch.testing.assert_close(of_real, real_score)


@pytest.mark.parametrize(("loss", "weight"), [("relativistic", 0.5), ("wgan-gp", 10.0)])
def test_weights_of_the_penalties(loss, weight):
    assert make_module(loss=loss).penalty_weight == weight
    assert make_module(loss=loss, penalty_weight=0.0).penalty_weight == 0


def test_latents_of_a_prior_are_independent_of_the_cells():
    module, tensors = make_module(latent="prior"), make_tensors(n=20_000)
    out = module.inference(**module._get_inference_input(tensors))
    torch.testing.assert_close(out["z"], tensors[LATENT_MEAN_TENSOR])
    drawn = out["condition"][:, :3]
    # Five standard errors of 60,000 standard normal values, of their squares, and of products with the means.
    assert abs(drawn.mean().item()) < 5 / 60_000**0.5
    assert drawn.square().mean().item() == pytest.approx(1, abs=5 * (2 / 60_000) ** 0.5)
    assert abs((drawn * out["z"]).mean().item()) < 5 / 60_000**0.5
    del tensors[LATENT_MEAN_TENSOR]
    assert module.inference(**module._get_inference_input(tensors))["z"] is None


@pytest.mark.parametrize("critic_norm", [None, "batch"])
@pytest.mark.parametrize("information", [None, "generated", "both"])
def test_information_is_added_to_both_players(information, critic_norm):
    kwargs = {"latent": "prior", "critic_head": None, "loss": "wgan-gp", "critic_norm": critic_norm}
    module = make_module(**kwargs, information=information, information_weight=3.0)
    tensors = make_tensors(n=20)
    inference = module.inference(**module._get_inference_input(tensors))
    fake, code = module.generative(inference["condition"]), inference["condition"]
    output = module.loss(tensors, inference, fake, player="critic")
    parts = output.extra_metrics
    wanted = -parts["score_gap"] + 10 * parts["gradient_penalty"]
    cells = torch.stack([tensors[REGISTRY_KEYS.X_KEY], fake["x"]])
    of_generator = -module.critic(cells, code)[1].mean()

    def error(inferred, code):  # minus the log density of N(codes, I), without its constant
        density = torch.distributions.Normal(inferred, 1.0)
        return -density.log_prob(code).sum(1).mean() - 1.5 * math.log(2 * math.pi)

    if information is not None:
        of_real, of_fake = module.critic.codes(cells, code)
        wanted = wanted + 3 * error(of_fake, code)
        of_generator = of_generator + 3 * error(of_fake, code)
    if information == "both":
        wanted = wanted + 3 * error(of_real, inference["z"])
    torch.testing.assert_close(output.loss, wanted)
    torch.testing.assert_close(module.loss(tensors, inference, fake, player="generator").loss, of_generator)


def test_counts_are_those_of_cells_with_the_totals_of_the_real_ones():
    module = make_counting_module(output_activation="relu")
    n = 20_000
    tensors = make_tensors(n) | {REGISTRY_KEYS.X_KEY: torch.full((n, 12), 3.0)}
    inference = module.inference(**module._get_inference_input(tensors))
    for registered in (None, torch.full((n, 1), 500.0)):
        if registered is not None:
            tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] = registered
        inputs = module._get_generative_input(tensors, inference)
        torch.testing.assert_close(inputs["total"], torch.full((n, 1), 36.0) if registered is None else registered)
        with torch.no_grad():
            module.generator.network[-1].weight.zero_()
            module.generator.network[-1].bias.copy_(torch.linspace(-1, 5, 12))
            module.generator.decoder.weight.zero_()
            module.generator.decoder.bias.zero_()
            module.generator.noise.weight.zero_()
            x = module.generative(**inputs)["x"]
        scaled = torch.expm1(x).double().mean(0)
        rate = torch.linspace(-1, 5, 12).double().exp()
        if registered is None:  # normalised by their own sum
            torch.testing.assert_close(torch.expm1(x).sum(1), torch.full((n,), 1e3))
        else:
            # counts * 1000 / 500 with counts Poisson of rate / 2: five standard errors
            assert ((scaled - rate).abs() < 5 * (2 * rate / n).sqrt()).all()


def test_thinned_cells_are_cells_of_a_thinned_total():
    module, n = make_counting_module(thinning=0.4), 20_000
    counts = torch.tensor([0.0, 1, 2, 5, 40] * 2 + [100, 100]).repeat(n, 1)
    tensors = {REGISTRY_KEYS.X_KEY: counts, REGISTRY_KEYS.SIZE_FACTOR_KEY: torch.full((n, 1), 1000.0)}
    thinned = module.augment(tensors)
    x, share = thinned[REGISTRY_KEYS.X_KEY], thinned[REGISTRY_KEYS.SIZE_FACTOR_KEY] / 1000
    assert (tensors[REGISTRY_KEYS.X_KEY] == counts).all()  # the next visit has all of them
    assert (x == x.round()).all()
    assert (x <= counts).all()
    assert 0.4 <= share.min() < share.max() <= 1
    # Binomial given the share of the cell: five standard errors of mean and variance of the standardised counts.
    there = counts[0] > 0
    standard = (x - counts * share)[:, there] / (counts * share * (1 - share))[:, there].sqrt().clamp_min(1e-6)
    kept = standard[(share < 0.95).squeeze(1)]
    assert kept.mean().abs() < 5 / kept.numel() ** 0.5
    # the variance of a squared standardised binomial is below 2 + 1 / (5 % of one count)
    assert kept.square().mean().item() == pytest.approx(1, abs=5 * (22 / kept.numel()) ** 0.5)
    del tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY]  # the total is then the sum of what is left
    assert set(module.augment(tensors)) == {REGISTRY_KEYS.X_KEY}


def test_cells_without_a_count_left_are_empty():
    module = make_counting_module(thinning=0.1)
    tensors = module.augment(make_tensors() | {REGISTRY_KEYS.X_KEY: torch.eye(32, 12)})
    x = module.inputs.expression(tensors)
    assert x.isfinite().all()
    assert (x.sum(1) == 0).sum() > 20  # 20 of the 32 had none from the start
    inference = module.inference(**module._get_inference_input(tensors))
    fake = module.generative(**module._get_generative_input(tensors, inference))
    assert module.loss(tensors, inference, fake, player="critic").loss.isfinite()


@pytest.mark.parametrize("make", [lambda: make_counting_module(thinning=1.0), make_module], ids=["whole", "logged"])
def test_whole_cells_and_logarithms_are_left_as_they_are(make):
    tensors = make_tensors()
    assert make().augment(tensors) is tensors


def test_no_gene_has_more_than_all_counts():
    module = make_counting_module()
    with torch.no_grad():
        module.averaged_generator.module.decoder.bias.fill_(100.0)
    rates = module.sample(torch.randn(5, 3), torch.randn(5, 4))
    torch.testing.assert_close(rates, torch.full((5, 12), 1e3), rtol=1e-4, atol=0)
    with torch.no_grad():
        module.averaged_generator.module.decoder.bias[0] = torch.inf
    assert module.sample(torch.randn(5, 3), torch.randn(5, 4))[:, 0].isnan().all()


def test_scales_bring_genes_and_conditions_to_unit_size():
    module = make_module()
    deviation, condition, mean = torch.linspace(0, 2, 12), torch.tensor([0.5, 2.0, 1.0]), torch.tensor([5.0, -3.0, 7.0])
    module.set_expression_scale(deviation)
    module.set_unit(mean, condition)
    for network in (module.critic, module.generator, module.averaged_generator.module):
        torch.testing.assert_close(network.condition_scale, torch.tensor([2.0, 0.5, 1.0]))
        torch.testing.assert_close(network.condition_mean, mean)
    # In all, genes have variance 1 on average; among themselves, the root of their deviation.
    seen = deviation * module.critic.input_scale
    torch.testing.assert_close(seen.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(seen[2:] / seen[-1], (deviation[2:] / deviation[-1]).sqrt())


def test_cells_and_scores_do_not_depend_on_the_unit_of_the_condition():
    condition, noise, x = torch.randn(6, 3), torch.randn(6, 4), torch.randn(6, 12)
    outputs = []
    for deviation, mean in (
        (torch.ones(3), torch.zeros(3)),
        (torch.tensor([1e-3, 50, 1e4]), torch.tensor([0.0, -200, 3e4])),
    ):
        torch.manual_seed(0)
        module = make_module(output_activation=None, n_centres=5)
        module.set_unit(mean, deviation)
        kernel = torch.ones(3), torch.randn(5, 3), torch.tensor(0.7)
        module.start(torch.randn(12, 8), torch.randn(12), torch.randn(12, 4), kernel=kernel)
        given = condition * deviation + mean
        outputs.append((module.generator(given, noise), module.critic(x, given)))
    for plain, in_units in zip(*outputs, strict=True):
        torch.testing.assert_close(in_units, plain, rtol=1e-4, atol=1e-4)  # single precision: four deviations from zero


def test_one_pass_of_real_and_generated_cells_equals_two():
    module, tensors = make_module(), make_tensors()
    inference = module.inference(**module._get_inference_input(tensors))
    fake = module.generative(inference["condition"])
    loss = module.loss(tensors, inference, fake, player="critic").extra_metrics["score_gap"]
    condition = inference["condition"]
    real_score, fake_score = module.critic(tensors[REGISTRY_KEYS.X_KEY], condition), module.critic(fake["x"], condition)
    torch.testing.assert_close(loss, real_score.mean() - fake_score.mean())


def test_average_is_the_exponential_moving_average_of_the_generator():
    module = make_module(average_decay=0.9)
    expected = None
    for _ in range(3):
        with torch.no_grad():
            for p in module.generator.parameters():
                p.add_(torch.randn_like(p))
        weight = module.generator.decoder.weight.detach().clone()
        expected = weight if expected is None else 0.9 * expected + 0.1 * weight
        module.update_average()
    torch.testing.assert_close(module.averaged_generator.module.decoder.weight, expected)


def test_cells_are_sampled_from_the_average_where_there_is_one():
    condition, noise = torch.randn(6, 3), torch.randn(6, 4)
    module = make_module()
    with torch.no_grad():
        module.generator.decoder.bias.add_(5)
    torch.testing.assert_close(module.sample(condition, noise), module.averaged_generator.module(condition, noise))
    plain = make_module(average_decay=None)
    torch.testing.assert_close(plain.sample(condition, noise), plain.generator(condition, noise))


def test_start_sets_generator_and_average():
    module = make_module(output_activation=None)
    weight, bias, loadings = torch.randn(12, 3), torch.randn(12), torch.randn(12, 4)
    module.start(weight, bias, loadings)
    for generator in (module.generator, module.averaged_generator.module):
        torch.testing.assert_close(generator.decoder.weight, weight)
        torch.testing.assert_close(generator.noise.weight, loadings)
