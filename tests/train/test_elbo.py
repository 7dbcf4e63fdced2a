import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData

from scmichigan import BetaTCVAE
from scmichigan.model import _beta_tcvae


@pytest.mark.parametrize("train_size", [1.0, 0.8])
def test_history_is_that_of_scvis_plan(monkeypatch, train_size):
    adata = AnnData(np.random.default_rng(0).poisson(1.0, (100, 12)).astype(np.float32))
    BetaTCVAE.setup_anndata(adata)
    histories = []
    for plan in (_beta_tcvae.ElboTrainingPlan, scvi.train.TrainingPlan):
        monkeypatch.setattr(_beta_tcvae, "ElboTrainingPlan", plan)
        scvi.settings.seed = 0
        model = BetaTCVAE(adata, n_latent=2)
        watch = {"check_val_every_n_epoch": 1} if train_size < 1 else {}
        for max_epochs in (2, 1):  # the second run adds to the history of the first
            model.train(max_epochs, batch_size=20, train_size=train_size, enable_progress_bar=False, **watch)
        histories.append(model.history)
    ours, expected = histories
    assert list(ours) == list(expected)
    for name, values in expected.items():
        assert len(values) == 3
        pd.testing.assert_frame_equal(ours[name].astype(float), values.astype(float), rtol=1e-5, check_index_type=False)
