import pytest
import torch
from scvi import REGISTRY_KEYS

from scmichigan._keys import LATENT_MEAN_TENSOR, LATENT_VAR_TENSOR
from scmichigan.module import MichiGANModule


def make_module(**kwargs):
    torch.manual_seed(0)
    settings = {"n_noise": 4, "generator_hidden": (16,), "critic_hidden": (16, 5), "counts": False} | kwargs
    return MichiGANModule(12, 3, **settings)


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
    tensors = make_tensors()
    out = make_module(n_batch=2).inference(**make_module(n_batch=2)._get_inference_input(tensors))
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
