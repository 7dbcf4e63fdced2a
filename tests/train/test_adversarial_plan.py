import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scvi import REGISTRY_KEYS
from scvi.train import Trainer

from scmichigan._keys import LATENT_MEAN_TENSOR
from scmichigan.module import CellFormat, GANSettings, MichiGANModule
from scmichigan.train import AdversarialTrainingPlan, CellDataModule


def make_arrays(n=64, n_genes=12):
    rng = np.random.default_rng(0)
    return {
        REGISTRY_KEYS.X_KEY: sp.random(n, n_genes, density=0.3, format="csr", random_state=0, dtype=np.float32),
        REGISTRY_KEYS.BATCH_KEY: np.zeros((n, 1)),
        LATENT_MEAN_TENSOR: rng.normal(size=(n, 3)),
    }


def make_module():
    settings = GANSettings(n_noise=4, generator_hidden=(16,), critic_hidden=(16, 5))
    return MichiGANModule(12, 3, settings=settings, cells=CellFormat(counts=False))


def cells(n_at_once=3):
    """Four minibatches an epoch, by default three in the first step and one in the other."""
    return CellDataModule(make_arrays(), batch_size=16, n_at_once=n_at_once)


def fit(max_epochs=1, n_at_once=3, **plan_kwargs):
    torch.manual_seed(0)
    module = make_module()
    steps = {"generator": 0, "average": 0, "critic": 0}
    loss, update_average = module.loss, module.update_average

    def counted_loss(*args, player):
        steps[player] += 1
        return loss(*args, player=player)

    def counted_update():
        steps["average"] += 1
        update_average()

    module.loss, module.update_average = counted_loss, counted_update
    trainer = Trainer(
        max_epochs=max_epochs, accelerator="cpu", devices=1, enable_progress_bar=False, log_every_n_steps=0
    )
    plan = AdversarialTrainingPlan(module, **plan_kwargs)
    trainer.fit(plan, cells(n_at_once))
    return module, steps, trainer.logger.history


@pytest.mark.parametrize(("n_critic", "generator_steps"), [(1, 12), (5, 2), (3, 4)])
def test_n_critic_steps_for_each_generator_step_across_epochs(n_critic, generator_steps):
    _, steps, _ = fit(max_epochs=3, n_critic=n_critic)  # 4 minibatches an epoch
    assert steps == {"critic": 12, "generator": generator_steps, "average": generator_steps}


def test_minibatches_that_are_given_at_once_are_the_same_steps():
    one, _, expected = fit(max_epochs=3, n_critic=2, n_at_once=None)
    for n_at_once in (1, 3, 10):
        several, _, history = fit(max_epochs=3, n_critic=2, n_at_once=n_at_once)
        for name in ("critic_loss", "generator_loss", "gradient_penalty", "score_gap"):
            assert history[name].equals(expected[name]), name
        for key, value in one.state_dict().items():
            assert torch.equal(value, several.state_dict()[key]), key


def test_history_has_all_four_losses():
    _, _, history = fit(max_epochs=2, n_critic=2)
    for name in ("critic_loss", "generator_loss", "gradient_penalty", "score_gap"):
        assert len(history[name]) == 2
        assert np.isfinite(history[name].to_numpy(dtype=float)).all()


def test_history_is_the_mean_over_the_epoch():
    losses = []
    compute = MichiGANModule.loss

    def noted(module, *args, player):
        output = compute(module, *args, player=player)
        losses.append(output.extra_metrics.get("critic_loss"))
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MichiGANModule, "loss", noted)
        _, _, history = fit(max_epochs=2, n_critic=2)
    of_critic = torch.stack([loss.detach() for loss in losses if loss is not None]).reshape(2, 4)
    expected = of_critic.mean(1).numpy()
    np.testing.assert_allclose(history["critic_loss"].to_numpy(dtype=float).ravel(), expected, rtol=1e-5)


def test_players_only_move_their_own_weights():
    generator_still, _, _ = fit(lr_generator=0.0, n_critic=1)
    critic_still, _, _ = fit(lr_critic=0.0, n_critic=1)
    torch.manual_seed(0)
    fresh = make_module()
    for still, moved, name in ((generator_still, critic_still, "generator"), (critic_still, generator_still, "critic")):
        states = [getattr(m, name).state_dict() for m in (fresh, still, moved)]
        trained = {key for key, _ in getattr(fresh, name).named_parameters()}
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key])
            # A constant added to all scores cancels in every loss.
            assert key == "score.bias" or torch.equal(value, states[2][key]) == (key not in trained)
    assert all(p.requires_grad for p in generator_still.critic.parameters())


def test_minibatches_hold_each_cell_at_most_once_an_epoch_and_densify_sparse_rows():
    arrays = make_arrays(n=50)
    arrays["index"] = np.arange(50)
    data = CellDataModule(arrays, batch_size=16)
    batches = list(data.train_dataloader())
    seen = torch.cat([b["index"] for b in batches]).long().numpy()
    assert len(batches) == 3
    assert len(set(seen)) == 48
    dense = arrays[REGISTRY_KEYS.X_KEY].toarray()
    np.testing.assert_array_equal(torch.cat([b[REGISTRY_KEYS.X_KEY] for b in batches]).numpy(), dense[seen])


def test_stacked_minibatches_are_the_same_ones():
    arrays = make_arrays(n=50)
    of_one, stacked = (
        CellDataModule(arrays, batch_size=16, n_at_once=n_at_once).train_dataloader() for n_at_once in (None, 2)
    )
    assert len(stacked) == 2
    torch.manual_seed(0)
    expected = list(of_one)
    torch.manual_seed(0)
    first, second = stacked
    assert [len(x) for x in first.values()] == [2, 2, 2]
    assert [len(x) for x in second.values()] == [1, 1, 1]
    for name in arrays:
        for one, other in zip(expected, [*first[name], *second[name]], strict=True):
            assert torch.equal(one[name], other)


def test_large_minibatches_are_not_stacked_beyond_640_cells():
    for batch_size, n_at_once in ((128, 5), (300, 2), (400, 1), (800, 1)):
        data = CellDataModule({"index": np.arange(1600)}, batch_size=batch_size, n_at_once=5)
        assert next(iter(data.train_dataloader()))["index"].shape[:2] == (n_at_once, batch_size)


def test_validation_cells_are_the_others():
    data = CellDataModule({"index": np.arange(50)}, batch_size=8, train_size=0.8)
    train = torch.cat([b["index"] for b in data.train_dataloader()])
    validation = torch.cat([b["index"] for b in data.val_dataloader()])
    assert sorted(torch.cat([train, validation]).tolist()) == list(range(50))
    assert len(validation) == 10


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 100}, "64 training cells"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 8, "train_size": 0.0}, "train_size is 0.0"),
        ({"batch_size": 8, "train_size": 1.5}, "train_size is 1.5"),
    ],
)
def test_impossible_splits_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CellDataModule(make_arrays(), **kwargs)


def watched_fit(**plan_kwargs):
    """Train, and note the generator's weights whenever it makes cells, and after each of its own steps."""
    torch.manual_seed(0)
    module = make_module()
    used, steps = [], []

    def weights():
        return torch.cat([p.detach().flatten() for p in module.generator.parameters()])

    generative, update_average = module.generative, module.update_average

    def watched_generative(*args, **kwargs):
        used.append(weights())
        return generative(*args, **kwargs)

    def watched_update():
        steps.append(weights())
        update_average()

    module.generative, module.update_average = watched_generative, watched_update
    steps.append(weights())
    trainer = Trainer(max_epochs=2, accelerator="cpu", devices=1, enable_progress_bar=False, log_every_n_steps=0)
    trainer.fit(AdversarialTrainingPlan(module, **plan_kwargs), cells())
    assert torch.equal(weights(), steps[-1])
    return used, steps


def test_both_players_share_the_generated_cells():
    used, steps = watched_fit(n_critic=1)  # 8 minibatches
    assert len(used) == 8
    for i, weights in enumerate(used):
        assert torch.equal(weights, steps[i])


def test_critic_meets_the_generator_that_one_more_step_would_make():
    used, steps = watched_fit(n_critic=1, prediction_step=True, lr_generator=0.01)
    assert len(used) == 16
    for i in range(8):
        for_critic, for_generator = used[2 * i], used[2 * i + 1]
        step = steps[i] - steps[i - 1] if i else torch.zeros_like(steps[0])
        assert i == 0 or step.abs().max() > 1e-3
        torch.testing.assert_close(for_critic, steps[i] + step, rtol=0, atol=1e-6)
        assert torch.equal(for_generator, steps[i])  # the generator's own step is from where it was


def test_prediction_between_the_steps_of_the_generator():
    used, steps = watched_fit(n_critic=4, prediction_step=True, lr_generator=0.01)
    assert len(used) == 8 + 2
    first, second = used[:5], used[5:]
    for weights in first:  # no step yet to repeat
        torch.testing.assert_close(weights, steps[0])
    for weights in second[:4]:
        torch.testing.assert_close(weights, 2 * steps[1] - steps[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(second[4], steps[1], rtol=0, atol=1e-6)
