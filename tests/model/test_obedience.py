import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from scmichigan import MichiGAN
from scmichigan.model._obedience import correlation_k, draw_owners, gap, linear_encoder


def test_correlations_are_numpys_and_0_for_what_does_not_vary():
    rng = np.random.default_rng(0)
    given, found = rng.normal(size=(2, 50, 3)).astype(np.float32)
    given[:, 2] = 4.0
    expected = [np.corrcoef(given[:, k], found[:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(correlation_k(given, found), [*expected, 0], atol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_encoder_finds_latents_that_are_linear_in_the_expression(form):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(400, 30)), 0)
    z = x[:, :2] - 3 * x[:, 2:4]
    encoder = linear_encoder(form(x[:300]), z[:300], rng)
    assert (correlation_k(z[300:], encoder.predict(x[300:])) > 0.999).all()


def test_owners_are_drawn_from_the_exact_distribution():
    rng = np.random.default_rng(0)
    s, v = 0.8, np.array([0.25, 0.0])
    given, mean = np.sqrt(s) * rng.standard_normal((2, 3000, 2))
    drawn = draw_owners(given, mean[:, :1] * [1, 0], np.tile(v, (3000, 1)), rng, not_nm=None)
    # Means N(0, s) and a posterior of variance v: m | z ~ N(s z / (s + v), s v / (s + v)). A correlation r of n cells has
    # the standard error (1 - r^2) / sqrt(n); twice, since the cells to draw from are a sample, too; four of these.
    expected = s / np.sqrt(s**2 + s * v[0] + v[0] ** 2)
    error = 4 * np.sqrt(2) * (1 - expected**2) / np.sqrt(3000)
    assert correlation_k(given, mean[drawn])[0] == pytest.approx(expected, abs=error)


def test_owners_that_are_excluded_are_not_drawn():
    z = np.arange(5.0)[:, None]
    var = np.full((5, 1), 0.01)
    assert draw_owners(z, z, var, np.random.default_rng(0), not_nm=None).tolist() == [0, 1, 2, 3, 4]
    drawn = draw_owners(z, z, var, np.random.default_rng(0), not_nm=np.eye(5, dtype=bool))
    assert (np.abs(drawn - np.arange(5)) == 1).all()


def test_gap_is_to_the_less_of_what_real_cells_give():
    table = pd.DataFrame({"generated": [0.8, 0.9], "replicates": [0.95, 0.95], "real": [0.9, np.nan]})
    assert gap(table) == pytest.approx(0.1)
    assert np.isnan(gap(table.assign(replicates=np.nan, real=np.nan)))


@pytest.fixture
def linear(stored, make_gan):
    """A generator without noise whose expression is a known linear function of the latent, or nothing of it."""

    def make(weight):
        # Expression that the latent is a linear function of, so that its regression is a good encoder.
        stored.X = np.maximum(stored.obsm["Z"] @ np.eye(3, 40) + 3, 0).astype(np.float32)
        init = {"observation": "log_normalized", "average_decay": None}
        model = make_gan(stored, latent_key="Z", expression="log_normalized", init=init, fit={"max_epochs": 1})
        generator = model.module.generator
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.zero_()
            generator.decoder.weight.copy_(torch.as_tensor(weight * np.eye(40, 3)))
            generator.decoder.bias.fill_(3.0)
        return model

    return make


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 1.0), (-1.0, -1.0), (0.0, 0.0)])
def test_generators_that_obey_do_the_opposite_or_nothing(linear, weight, expected):
    table = linear(weight).obedience()
    np.testing.assert_allclose(table["generated"], expected, atol=0.01)
    assert table["replicates"].isna().all()  # of logarithms there is no counting noise
    assert table.attrs["encoder"] == "ridge regression"
    assert list(table.index) == [1, 2, 3]


def test_replicates_of_more_counts_are_more_alike(stored, make_gan):
    few = make_gan(stored.copy(), latent_key="Z", fit={"max_epochs": 1}).obedience()["replicates"]
    stored.X = stored.X * 1000
    stored.obs["total_counts"] *= 1000
    many = make_gan(stored, latent_key="Z", fit={"max_epochs": 1}).obedience()["replicates"]
    # The third latent is noise, which no encoder finds in the cells.
    assert (many[:2] > few[:2]).all()
    assert (many[:2] > 0.5).all()


def test_cells_that_no_fit_has_seen_are_encoded_by_the_models_own_encoder(counts, make_gan):
    seen, held_out = counts[:200].copy(), counts[200:].copy()
    model = make_gan(seen)
    table = model.obedience(held_out, n_cells=30)
    assert table.attrs["encoder"] == "beta-TCVAE"
    assert list(table.columns) == ["generated", "replicates", "real"]
    assert len(table) == 3
    assert table.notna().all(axis=None)
    again = model.obedience(held_out, n_cells=30)
    np.testing.assert_array_equal(table, again)
    assert (table != model.obedience(held_out, n_cells=30, seed=1)).any(axis=None)


def test_history_has_the_obedience_of_each_look(stored, make_gan, small):
    model = make_gan(stored, latent_key="Z")
    assert len(model.history["obedience"]) == 2
    table = model.obedience(n_cells=500)
    last = float(model.history["obedience"].iloc[-1, 0])
    assert last == pytest.approx(table["generated"].mean(), abs=1e-4)
    assert float(model.history["obedience_gap"].iloc[-1, 0]) == pytest.approx(gap(table), abs=1e-4)
    model.train(**{**small.gan_fit, "max_epochs": 45})
    # every second of 45 epochs, and the last, after the two of before
    assert len(model.history["obedience"]) == 2 + 22 + 1


def test_no_gap_where_nothing_says_what_real_cells_give(linear):
    assert "obedience_gap" not in linear(1.0).history


def test_looking_leaves_the_training_alone(stored, make_gan, monkeypatch):
    weights = []
    for looks in (20, 1):
        monkeypatch.setattr("scmichigan.model._latent_gan._N_LOOKS", looks)
        torch.manual_seed(0)
        model = make_gan(stored.copy(), latent_key="Z", fit={"max_epochs": 4})
        weights.append(torch.cat([p.flatten() for p in model.module.generator.parameters()]))
        assert len(model.history["obedience"]) == min(looks, 4)
    assert torch.equal(*weights)


def test_untrained(stored):
    MichiGAN.setup_anndata(stored, latent_key="Z")
    with pytest.raises(RuntimeError, match="untrained"):
        MichiGAN(stored).obedience()
