import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from scmichigan import BetaTCVAE

EPOCHS = {"epoch 1 of 3": 0, "epoch 2 of 3": 1}


class Spoil(Callback):
    """Makes one weight infinite at the start of an epoch."""

    def __init__(self, parameter, epoch):
        self.parameter, self.epoch = parameter, epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            with torch.no_grad():
                self.parameter.view(-1)[0] = torch.inf


@pytest.mark.parametrize("place", EPOCHS)
def test_beta_tcvae_with_an_infinite_weight(counts, make_vae, small, place):
    model = make_vae(counts, train=False)
    spoil = Spoil(model.module.posterior.bias, EPOCHS[place])
    message = f"the loss of BetaTCVAEModule became (nan|inf) in {place}; try a smaller lr or beta, and look for cells"
    with pytest.raises(FloatingPointError, match=message):
        model.train(**small.fit | {"max_epochs": 3}, callbacks=[spoil])
    assert not model.is_trained


@pytest.mark.parametrize(("likelihood", "part"), [("nb", "encoder"), ("zinb", "decoder"), ("poisson", "decoder")])
def test_likelihoods_of_counts_with_an_infinite_weight(counts, small, likelihood, part):
    BetaTCVAE.setup_anndata(counts)
    model = BetaTCVAE(counts, gene_likelihood=likelihood, n_latent=3, n_hidden=16)
    layer = {"encoder": model.module.encoder.mean_encoder, "decoder": model.module.decoder.px_scale_decoder[0]}[part]
    with pytest.raises(FloatingPointError, match="CountTCVAEModule became (nan|inf) in epoch 1 of 2; try a smaller"):
        model.train(**small.fit, callbacks=[Spoil(layer.bias, 0)])
    assert not model.is_trained


@pytest.mark.parametrize("place", EPOCHS)
@pytest.mark.parametrize("player", ["generator", "critic"])
def test_michigan_with_an_infinite_weight(stored, make_gan, small, place, player):
    model = make_gan(stored, latent_key="Z", train=False)
    parameter = {"generator": model.module.generator.network[-1].bias, "critic": model.module.critic.score.bias}[player]
    message = rf"the loss of MichiGANModule became (nan|-?inf) in {place}; try smaller learning rates \(plan_kwargs="
    with pytest.raises(FloatingPointError, match=message):
        model.train(**small.gan_fit | {"max_epochs": 3}, callbacks=[Spoil(parameter, EPOCHS[place])])
    assert not model.is_trained
    with pytest.raises(RuntimeError, match="untrained"):
        model.generate(3)


def test_a_trained_model_is_as_it_was_before_a_training_that_diverges(stored, make_gan, small):
    model = make_gan(stored, latent_key="Z")
    before = model.generate(20, seed=0)
    with pytest.raises(FloatingPointError):
        model.train(**small.gan_fit, callbacks=[Spoil(model.module.critic.score.bias, 1)])
    np.testing.assert_array_equal(model.generate(20, seed=0).X, before.X)


def test_absurd_learning_rates(counts, make_vae, make_gan, small):
    # Adam's first step is the learning rate itself: the second loss squares weights of 1e30.
    with pytest.raises(FloatingPointError, match="BetaTCVAEModule became .* in epoch 1 of 2; try a smaller lr"):
        make_vae(counts, fit={"lr": 1e30})
    model = make_gan(counts, train=False)
    with pytest.raises(FloatingPointError, match="BetaTCVAEModule became .* in epoch 1 of 2; try a smaller lr"):
        model.train(**small.gan_fit, latent_kwargs={"max_epochs": 2, "lr": 1e30})
    assert model.latent_model is None
    assert "X_michigan" not in counts.obsm
    with pytest.raises(FloatingPointError, match="MichiGANModule became .* in epoch 1 of 2; try smaller learning"):
        model.train(**small.gan_fit | {"plan_kwargs": {"lr_critic": 1e30}}, latent_kwargs={"max_epochs": 2})
