"""Decoded expression: what scvi-tools calls normalised."""

import numpy as np
import pandas as pd
import pytest
import torch

from scmichigan import BetaTCVAE, MichiGAN, datasets

# Name: class, arguments of the setup, of the model, and whether cells are logged beforehand.
MODELS = {
    "vae": (BetaTCVAE, {}, {"hidden": (16, 8)}, False),
    "vae of logarithms": (BetaTCVAE, {}, {"hidden": (16, 8)}, True),
    "vae of counts": (BetaTCVAE, {}, {"gene_likelihood": "nb", "n_hidden": 16}, False),
    "gan": (MichiGAN, {"latent_key": "Z"}, {}, False),
    "gan of posteriors": (MichiGAN, {"latent_key": "Z", "latent_var_key": "V"}, {}, False),
    "gan of means": (MichiGAN, {"latent_key": "Z", "latent_var_key": "V"}, {"latent_sampling": "mean"}, False),
    "gan of logarithms": (MichiGAN, {"latent_key": "Z"}, {}, True),
}
OF_COUNTS = [name for name, model in MODELS.items() if not model[3]]
SUMMED = ["vae of counts", "gan"]  # softmax, and rates that are scaled to the total
N = 240


@pytest.fixture(scope="module")
def trained(small):
    """Gives each of the models, trained once; the tests only read."""
    kept = {}

    def give(name):
        if name not in kept:
            cls, setup, init, is_logged = MODELS[name]
            adata = datasets.screen(N, 40, n_treatments=3, n_batches=2, seed=0)
            rng = np.random.default_rng(0)
            adata.obsm["Z"] = rng.normal(size=(N, 3)).astype(np.float32)
            adata.obsm["V"] = rng.uniform(0.01, 0.1, size=(N, 3)).astype(np.float32)
            adata.X = adata.X.log1p() if is_logged else adata.X
            cls.setup_anndata(adata, batch_key="batch", target_sum=1e3 if not is_logged else 1e4, **setup)
            gan = cls is MichiGAN
            kept[name] = cls(adata, **({} if gan else {"n_latent": 3}), **(small.gan if gan else {}), **init)
            kept[name].train(**small.gan_fit if gan else small.fit)
        return kept[name]

    return give


def _by_hand(model, batch, *, seed=0, n_samples=1):
    """Output of the module for samples of the cells' latents, in the given batch of each cell."""
    mean, var = model.get_latent_representation(return_dist=True)
    rng, found = np.random.default_rng(seed), []
    for _ in range(n_samples):
        z = mean
        if var is not None and getattr(model, "latent_sampling", "sample") == "sample":
            z = mean + np.sqrt(var) * rng.standard_normal(mean.shape)
        condition = torch.tensor(np.column_stack([z, np.asarray(batch) == "batch 1", np.asarray(batch) == "batch 2"]))
        if isinstance(model, MichiGAN):
            noise = torch.tensor(rng.standard_normal((len(z), 5), dtype=np.float32))
            x = model.module.sample(condition.float(), noise).numpy()
        else:
            inputs = [part.float() for part in condition.tensor_split([3], dim=1)]
            totals = [torch.full((len(z), 1), 1e3)] if model.module.makes_counts else []
            x = model.module.generative(*inputs, *totals)["px"].mean.detach().numpy()
        if model.module.makes_counts:
            x = x / 1e3
        elif model.registry["setup_args"]["expression"] == "counts":
            x = np.expm1(np.maximum(x, 0)) / 1e3
        found.append(x)
    return np.stack(found)


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_the_module(trained, name):
    model = trained(name)
    state, before = torch.random.get_rng_state(), model.adata.copy()
    found = model.get_normalized_expression(seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(model.adata.obsm) == list(before.obsm)
    assert isinstance(found, pd.DataFrame)
    assert found.index.equals(model.adata.obs_names)
    assert found.columns.equals(model.adata.var_names)
    (expected,) = _by_hand(model, model.adata.obs["batch"], seed=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    pd.testing.assert_frame_equal(model.get_normalized_expression(seed=3), found)
    # Other chunks have the same noise.
    np.testing.assert_allclose(model.get_normalized_expression(seed=3, batch_size=50), found, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", OF_COUNTS)
def test_library_size_is_the_total_of_each_cell(trained, name):
    model = trained(name)
    fractions = model.get_normalized_expression()
    assert fractions.min(axis=None) >= 0
    np.testing.assert_allclose(model.get_normalized_expression(library_size=1e4), 1e4 * fractions, rtol=1e-5)
    totals = model.adata.X.sum(axis=1)
    latent = model.get_normalized_expression(library_size="latent", indices=[7, 3])
    np.testing.assert_allclose(latent, np.asarray(totals)[[7, 3]] * model.get_normalized_expression(indices=[7, 3]))


@pytest.mark.parametrize("name", SUMMED)
def test_fractions_of_all_genes_sum_to_one(trained, name):
    fractions = trained(name).get_normalized_expression(n_samples=2, return_mean=False)
    np.testing.assert_allclose(fractions.sum(axis=-1), 1, rtol=1e-5)


def test_fractions_of_registered_totals_sum_to_what_the_genes_have_of_them(stored, make_gan):
    stored.obs["total"] = 4 * stored.obs["total_counts"]
    model = make_gan(stored, latent_key="Z", size_factor_key="total", fit={"max_epochs": 0})
    # A quarter; the closed form keeps means within the sampling errors of 240 cells, which differ by about a tenth.
    assert model.get_normalized_expression().sum(axis=1).mean() == pytest.approx(1 / 4, rel=0.05)
    latent = model.get_normalized_expression(library_size="latent").sum(axis=1)
    expected = stored.obs["total"] * model.get_normalized_expression().sum(axis=1)
    np.testing.assert_allclose(latent, expected, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_batches_are_replaced_and_the_mean_over_several_is_given(trained, name):
    model = trained(name)
    first, second = (model.get_normalized_expression(transform_batch=f"batch {i}") for i in (1, 2))
    np.testing.assert_allclose(first, _by_hand(model, ["batch 1"] * N)[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(second, _by_hand(model, ["batch 2"] * N)[0], rtol=1e-4, atol=1e-7)
    own = model.get_normalized_expression()
    is_first = (model.adata.obs["batch"] == "batch 1").to_numpy()
    np.testing.assert_array_equal(own[is_first], first[is_first])
    np.testing.assert_array_equal(own[~is_first], second[~is_first])
    assert (first != second).any(axis=None)
    both = model.get_normalized_expression(transform_batch=["batch 1", "batch 2"])
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_samples_and_their_mean(trained, name):
    model = trained(name)
    samples = model.get_normalized_expression(n_samples=3, return_mean=False)
    assert samples.shape == (3, N, 40)
    expected = _by_hand(model, model.adata.obs["batch"], n_samples=3)
    np.testing.assert_allclose(samples, expected, rtol=1e-4, atol=1e-7)
    assert (samples[0] != samples[1]).any()
    mean = model.get_normalized_expression(n_samples=3)
    assert isinstance(mean, pd.DataFrame)
    np.testing.assert_allclose(mean, samples.mean(axis=0), rtol=1e-5, atol=1e-8)
    alone = model.get_normalized_expression(return_mean=False)
    assert alone.shape == (N, 40)


def test_genes_and_cells_in_the_order_that_is_asked_for(trained):
    model = trained("gan of means")
    every = model.get_normalized_expression()
    genes = ["gene_7", "gene_2"]
    pd.testing.assert_frame_equal(model.get_normalized_expression(gene_list=genes), every[genes])
    array = model.get_normalized_expression(gene_list=genes, return_numpy=True)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, every[genes])
    some = model.get_normalized_expression(indices=[5, 2])
    assert list(some.index) == list(model.adata.obs_names[[5, 2]])


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_other_cells(trained, name):
    model = trained(name)
    other = model.adata[::-1][:50].copy()
    other.obs_names = [f"other_{i}" for i in range(50)]
    found = model.get_normalized_expression(other, transform_batch="batch 1")
    assert list(found.index) == list(other.obs_names)
    # The same latents, and the noise of the first cells in place of the last.
    rng, z = np.random.default_rng(0), model.get_latent_representation(other)
    if name == "vae":
        _, var = model.get_latent_representation(other, return_dist=True)
        z = z + np.sqrt(var) * rng.standard_normal(z.shape)
    condition = torch.tensor(np.column_stack([z, np.ones(50), np.zeros(50)]), dtype=torch.float32)
    if name == "vae":
        expected = np.expm1(
            model.module.generative(condition[:, :3], condition[:, 3:])["px"].mean.relu().detach().numpy()
        )
    else:
        noise = torch.tensor(rng.standard_normal((50, 5), dtype=np.float32))
        expected = model.module.sample(condition, noise).numpy()
    np.testing.assert_allclose(found, expected / 1e3, rtol=1e-4, atol=1e-7)


def test_cells_whose_latents_a_latent_model_infers(counts, make_vae, small):
    seen, new = counts[:200].copy(), counts[200:].copy()
    model = MichiGAN.from_latent_model(make_vae(seen, batch_key="batch"), **small.gan)
    model.train(max_epochs=0)
    found = model.get_normalized_expression(new)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert "X_michigan" in new.obsm  # as latent_recovery stores them


@pytest.mark.parametrize(
    ("name", "request_", "error", "message"),
    [
        ("gan", {"transform_batch": "batch 3"}, ValueError, r"no cell has obs\['batch'\] == 'batch 3'; the levels are"),
        (
            "gan",
            {"gene_list": ["gene_1", "nope"]},
            ValueError,
            "gene_list has 'nope', which is none of the model's genes",
        ),
        ("gan", {"n_samples": 0}, ValueError, "n_samples is 0: give 1 or more"),
        ("vae", {"n_samples": 1.5}, ValueError, "n_samples is 1.5: give a whole number"),
        ("gan", {"library_size": "own"}, ValueError, "library_size is 'own'; give"),
        ("gan", {"library_size": 0}, ValueError, "library_size is 0; give"),
        (
            "gan of logarithms",
            {"library_size": 1e4},
            ValueError,
            "library_size is 10000.0, but log-normalised expression has no totals",
        ),
        ("vae of logarithms", {"library_size": "latent"}, ValueError, "library_size is 'latent', but log-normalised"),
    ],
)
def test_bad_requests(trained, name, request_, error, message):
    with pytest.raises(error, match=message):
        trained(name).get_normalized_expression(**request_)


def test_without_batches_and_without_training(stored, make_gan, make_vae):
    for model in (make_gan(stored, latent_key="Z", train=False), make_vae(stored, train=False)):
        with pytest.raises(RuntimeError, match="is untrained; call train"):
            model.get_normalized_expression()
    model = make_gan(stored, latent_key="Z", fit={"max_epochs": 0})
    with pytest.raises(
        ValueError, match="transform_batch is given, but no batch is registered; set up with batch_key="
    ):
        model.get_normalized_expression(transform_batch="batch 1")
