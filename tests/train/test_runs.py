"""What Lightning and scvi-tools offer around a training: callbacks, loggers, checkpoints, Ctrl+C."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from scvi.train import SaveCheckpoint

from scmichigan import BetaTCVAE, MichiGAN


class _Interrupt(Callback):
    """Ctrl+C in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


class _Weights(Callback):
    """Notes the weights that a training starts from, and counts its epochs."""

    def on_train_start(self, trainer, pl_module):
        self.first = {name: value.clone() for name, value in pl_module.module.state_dict().items()}
        self.n_epochs = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.n_epochs += 1


@pytest.fixture
def ctrl_c_counts():
    """As in a terminal: jobs in the background ignore Ctrl+C, and so would the tests."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.filterwarnings("error:The number of training batches")
def test_few_minibatches_are_not_warned_of(counts, make_gan):
    """Epochs are logged, steps are not."""
    assert len(make_gan(counts).history["critic_loss"]) > 0  # after both stages


@pytest.mark.usefixtures("ctrl_c_counts")
@pytest.mark.parametrize("name", ["gan", "vae"])
def test_what_was_learned_before_ctrl_c_is_kept(stored, make_gan, make_vae, small, name):
    model = make_gan(stored, latent_key="Z", train=False) if name == "gan" else make_vae(stored, train=False)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="training stopped in epoch 1$"):
        model.train(**small.fit | {"max_epochs": 5}, callbacks=[_Interrupt(0)])
    assert not model.is_trained
    with pytest.raises(KeyboardInterrupt, match="training stopped in epoch 3$"):
        model.train(**small.fit | {"max_epochs": 5}, callbacks=[_Interrupt(2)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert model.is_trained
    assert not model.module.training
    learned = {key: value.clone() for key, value in model.module.state_dict().items()}
    assert np.isfinite(model.generate(20).X).all()
    n_epochs = {key: len(frame) for key, frame in model.history.items()}
    assert set(n_epochs.values()) <= {1, 2}
    watch = _Weights()
    model.train(**small.fit | {"max_epochs": 1}, callbacks=[watch])
    torch.testing.assert_close(watch.first, learned, rtol=0, atol=0)
    key = "critic_loss" if name == "gan" else "elbo_train"
    assert len(model.history[key]) == n_epochs[key] + 1 == 3


class _Checkpoint(Callback):
    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("latent", [{}, {"latent_key": "Z"}], ids=["own", "stored"])
def test_training_goes_on_from_a_checkpoint(stored, make_gan, small, tmp_path, latent):
    path = tmp_path / "gan.ckpt"
    fit = small.gan_fit | {"max_epochs": 3} | ({} if latent else {"latent_kwargs": {"max_epochs": 1}})
    make_gan(stored, **latent, train=False).train(**fit, callbacks=[_Checkpoint(path)])
    again, watch = make_gan(stored.copy(), **latent, train=False), _Weights()
    again.train(**fit, callbacks=[watch], ckpt_path=path)
    assert watch.n_epochs == 1  # of three
    saved = torch.load(path, weights_only=False)["state_dict"]
    saved = {name.removeprefix("module."): value for name, value in saved.items()}
    torch.testing.assert_close(watch.first, saved, rtol=0, atol=0)
    assert np.isfinite(again.generate(20).X).all()


def test_loggers_and_scvis_checkpoints(stored, make_gan, small, tmp_path):
    best = SaveCheckpoint(dirpath=str(tmp_path / "models"), monitor="critic_loss", save_top_k=1)
    model = make_gan(stored, latent_key="Z", train=False)
    logger = CSVLogger(tmp_path / "logs")
    model.train(**small.gan_fit, logger=logger, callbacks=[best])
    logged = pd.read_csv(f"{logger.log_dir}/metrics.csv")
    assert logged["critic_loss"].notna().sum() == 2
    assert "latent_recovery" in logged
    loaded = MichiGAN.load(best.best_model_path, stored, accelerator="cpu")
    assert np.isfinite(loaded.generate(20).X).all()
    model.save(tmp_path / "after")  # of such a training there is no history
    MichiGAN.load(tmp_path / "after", stored, accelerator="cpu")


@pytest.mark.parametrize("name", ["gan", "vae"])
@pytest.mark.filterwarnings("default")  # of Ray
def test_autotune_tries_hyperparameters(stored, small, tmp_path, name):
    for needed in ("ray", "scib_metrics"):
        pytest.importorskip(needed, reason="needs scvi-tools[autotune]")
    from ray import shutdown, tune
    from scvi.autotune import run_autotune

    if name == "vae":
        cls, metric, key = BetaTCVAE, "reconstruction_loss_validation", "beta"
        cls.setup_anndata(stored)
    else:
        cls, metric, key = MichiGAN, "critic_loss", "n_noise"
        cls.setup_anndata(stored, latent_key="Z")
    space = {
        "model_params": {key: tune.choice([2, 5])},
        "train_params": {
            "max_epochs": 2,
            "plan_kwargs": {"lr" if name == "vae" else "lr_critic": tune.uniform(1e-4, 1e-3)},
        },
    }
    try:
        found = run_autotune(
            cls,
            stored,
            metrics=[metric],
            mode="min",
            search_space=space,
            num_samples=2,
            searcher="random",
            seed=1,
            resources={"cpu": 1},
            logging_dir=str(tmp_path),
            ignore_reinit_error=True,
        )
    finally:
        shutdown()
    assert not found.result_grid.errors
    tried = found.result_grid.get_dataframe()
    assert np.isfinite(tried[metric]).all()
    assert set(tried[f"config/model_params/{key}"]) <= {2, 5}
