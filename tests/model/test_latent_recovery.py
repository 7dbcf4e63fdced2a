import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from scmichigan import MichiGAN
from scmichigan.model._latent_recovery import correlation_k, gap


def test_correlations_are_numpys_and_0_for_what_does_not_vary():
    rng = np.random.default_rng(0)
    given, found = rng.normal(size=(2, 50, 3)).astype(np.float32)
    given[:, 2] = 4.0
    expected = [np.corrcoef(given[:, k], found[:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(correlation_k(given, found), [*expected, 0], atol=1e-6)


def test_correlation_expected_of_samples():
    rng = np.random.default_rng(0)
    mean, other = rng.normal(size=(2, 2000, 3))
    found, var = 0.6 * mean + 0.8 * other, rng.uniform(0, 2, size=(2000, 3))
    drawn = [correlation_k(rng.normal(mean, np.sqrt(var)), found) for _ in range(50)]
    # Of one draw the standard error is at most 1 / sqrt(2000); of their mean it is a seventh of that; four of these.
    np.testing.assert_allclose(correlation_k(mean, found, var), np.mean(drawn, axis=0), atol=4 / np.sqrt(2000 * 50))


def test_gap_is_to_replicates_or_without_them_to_real_cells():
    table = pd.DataFrame({"generated": [0.8, 0.9], "replicates": [0.95, 0.92], "real": [0.99, 0.99]})
    assert gap(table) == pytest.approx(0.15)
    assert gap(table.assign(replicates=np.nan)) == pytest.approx(0.19)


@pytest.fixture
def linear(stored, make_gan):
    """A generator whose expression is a known linear function of the latent, or nothing of it, and of noise."""

    def make(weight, noise=0.0, **setup):
        # Expression that the latent is a linear function of, so that its regression is a good encoder.
        stored.X = np.maximum(stored.obsm["Z"] @ np.eye(3, 40) + 3, 0).astype(np.float32)
        init = {"observation": "log_normalized", "average_decay": None}
        model = make_gan(stored, latent_key="Z", expression="log_normalized", init=init, fit={"max_epochs": 1}, **setup)
        generator = model.module.generator
        deviation, mean = 1 / generator.condition_scale.double().numpy(), generator.condition_mean.double().numpy()
        weight = np.eye(40, 3) * weight
        parts = weight * deviation, 3 + weight @ mean, np.eye(40, generator.n_noise) * noise
        generator.start(*(torch.from_numpy(part).float() for part in parts))
        with torch.no_grad():
            generator.network[-1].weight.zero_()
        return model

    return make


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 1.0), (-1.0, -1.0), (0.0, 0.0)])
def test_generators_that_obey_do_the_opposite_or_nothing(linear, weight, expected):
    table = linear(weight).latent_recovery()
    np.testing.assert_allclose(table["generated"], expected, atol=0.01)
    assert table["replicates"].isna().all()  # of logarithms there is no counting noise
    np.testing.assert_allclose(table["real"], 1, atol=0.01)
    assert table.attrs["encoder"] == "ridge regression"
    assert list(table.index) == [1, 2, 3]


def test_generator_of_the_exact_distribution_is_as_obedient_as_real_cells(stored, linear):
    # Means of variance s without correlation, posteriors of variance v: a cell given z has the mean s z / (s + v), with the
    # variance s v / (s + v) around it, and real cells have the correlation sqrt(s / (s + v)) with their samples.
    s, v = 0.25, np.array([0.0, 0.1, 1.0])
    white = PCA(3, whiten=True).fit_transform(np.random.default_rng(0).normal(size=(stored.n_obs, 3)))
    stored.obsm["Z"] = (np.sqrt(s) * white).astype(np.float32)
    stored.obsm["V"] = np.tile(v, (stored.n_obs, 1)).astype(np.float32)
    noise = np.zeros((40, 1))
    noise[:3, 0] = np.sqrt(s * v / (s + v))
    model = linear(s / (s + v), noise, latent_var_key="V")
    table = model.latent_recovery(n_cells=4000)
    expected = np.sqrt(s / (s + v))
    np.testing.assert_allclose(table["real"], expected, atol=0.01)
    # Standard error (1 - r^2) / sqrt(n), four of these, and a hundredth for the regression.
    assert (np.abs(table["generated"] - expected) < 4 * (1 - expected**2) / np.sqrt(4000) + 0.01).all()


def test_means_are_given_to_a_generator_of_means(stored, make_gan):
    model = make_gan(
        stored, latent_key="Z", latent_var_key="V", init={"latent_sampling": "mean"}, fit={"max_epochs": 1}
    )
    without_variance = make_gan(stored.copy(), latent_key="Z", fit={"max_epochs": 1})
    real = without_variance.latent_recovery()["real"]
    np.testing.assert_allclose(model.latent_recovery()["real"], real, atol=1e-6)
    sampling = make_gan(stored.copy(), latent_key="Z", latent_var_key="V", fit={"max_epochs": 1})
    assert (sampling.latent_recovery()["real"] < real).all()


def test_replicates_of_more_counts_are_more_alike(stored, make_gan):
    few = make_gan(stored.copy(), latent_key="Z", fit={"max_epochs": 1}).latent_recovery()["replicates"]
    stored.X = stored.X * 1000
    stored.obs["total_counts"] *= 1000
    many = make_gan(stored, latent_key="Z", fit={"max_epochs": 1}).latent_recovery()["replicates"]
    # The third latent is noise, which no encoder finds in the cells.
    assert (many[:2] > few[:2]).all()
    assert (many[:2] > 0.5).all()


def test_cells_that_no_fit_has_seen_are_encoded_by_the_models_own_encoder(counts, make_gan):
    seen, held_out = counts[:200].copy(), counts[200:].copy()
    model = make_gan(seen)
    table = model.latent_recovery(held_out, n_cells=30)
    assert table.attrs["encoder"] == "beta-TCVAE"
    assert list(table.columns) == ["generated", "replicates", "real"]
    assert len(table) == 3
    assert table.notna().all(axis=None)
    again = model.latent_recovery(held_out, n_cells=30)
    np.testing.assert_array_equal(table, again)
    assert (table != model.latent_recovery(held_out, n_cells=30, seed=1)).any(axis=None)


def test_history_has_the_latent_recovery_of_each_look(stored, make_gan, small):
    model = make_gan(stored, latent_key="Z")
    assert len(model.history["latent_recovery"]) == 2
    table = model.latent_recovery(n_cells=1000)
    last = float(model.history["latent_recovery"].iloc[-1, 0])
    assert last == pytest.approx(table["generated"].mean(), abs=1e-4)
    assert float(model.history["latent_recovery_gap"].iloc[-1, 0]) == pytest.approx(gap(table), abs=1e-4)
    model.train(**{**small.gan_fit, "max_epochs": 45})
    # every second of 45 epochs, and the last, after the two of before
    assert len(model.history["latent_recovery"]) == 2 + 22 + 1


def test_gap_without_counting_noise_is_to_real_cells(linear):
    assert np.isfinite(linear(1.0).history["latent_recovery_gap"].to_numpy(dtype=float)).all()


def test_looking_leaves_the_training_alone(stored, make_gan, monkeypatch):
    weights = []
    for looks in (20, 1):
        monkeypatch.setattr("scmichigan.model._train_gan._N_LOOKS", looks)
        torch.manual_seed(0)
        model = make_gan(stored.copy(), latent_key="Z", fit={"max_epochs": 4})
        weights.append(torch.cat([p.flatten() for p in model.module.generator.parameters()]))
        assert len(model.history["latent_recovery"]) == min(looks, 4)
    assert torch.equal(*weights)


def test_untrained(stored):
    MichiGAN.setup_anndata(stored, latent_key="Z")
    with pytest.raises(RuntimeError, match="untrained"):
        MichiGAN(stored).latent_recovery()
