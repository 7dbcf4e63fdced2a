import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData

from scmichigan import BetaTCVAE
from scmichigan import train as training
from scmichigan.train import ElboTrainingPlan


@pytest.mark.parametrize("train_size", [1.0, 0.8])
def test_history_and_weights_are_those_of_scvis_plan(monkeypatch, train_size):
    adata = AnnData(np.random.default_rng(0).poisson(1.0, (150, 12)).astype(np.float32))
    BetaTCVAE.setup_anndata(adata)
    models = []
    # Without anything to accumulate a step of the trainer is a minibatch; it is five and the rest of an epoch with ours.
    one_by_one = {"accumulate_grad_batches": 1}
    plans = (scvi.train.TrainingPlan, one_by_one), (ElboTrainingPlan, one_by_one), (ElboTrainingPlan, {})
    for plan, arguments in plans:
        monkeypatch.setattr(training, "ElboTrainingPlan", plan)
        scvi.settings.seed = 0
        model = BetaTCVAE(adata, n_latent=2)
        watch = {"check_val_every_n_epoch": 1} if train_size < 1 else {}
        for max_epochs in (2, 1):  # the second run adds to the history of the first
            model.train(
                max_epochs, batch_size=20, train_size=train_size, enable_progress_bar=False, **arguments, **watch
            )
        models.append(model)
    scvis, *ours = models
    for model in ours:
        assert list(model.history) == list(scvis.history)
        for name, values in scvis.history.items():
            assert len(values) == 3
            found, expected = model.history[name].astype(float), values.astype(float)
            pd.testing.assert_frame_equal(found, expected, rtol=1e-5, check_index_type=False)
        for name, value in scvis.module.state_dict().items():
            assert torch.equal(model.module.state_dict()[name], value), name


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_clip_val": 1e-6},
        {
            "plan_kwargs": {
                "reduce_lr_on_plateau": True,
                "lr_scheduler_metric": "elbo_train",
                "lr_patience": 0,
                "lr_threshold": 1e6,
            }
        },
    ],
)
def test_what_lightning_does_beside_the_steps_is_still_done(arguments):
    adata = AnnData(np.random.default_rng(0).poisson(1.0, (150, 12)).astype(np.float32))
    BetaTCVAE.setup_anndata(adata)
    weights = []
    for given in ({}, arguments):
        scvi.settings.seed = 0
        model = BetaTCVAE(adata, n_latent=2)
        model.train(4, batch_size=20, train_size=1.0, enable_progress_bar=False, **given)
        weights.append(model.module.state_dict()["posterior.weight"])
    assert not torch.equal(*weights)
