import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad

from scmichigan import MichiGAN, datasets, metrics

TARGET = {"cell_type": "B", "condition": "stim"}


@pytest.fixture
def additive_cells():
    """Expression that is exactly additive in two labels, plus variation of each cell that the latent does not hold."""
    rng = np.random.default_rng(0)
    types, conditions = np.repeat(["A", "B", "C"], 120), np.tile(np.repeat(["ctrl", "stim"], 60), 3)
    keep = ~((types == "B") & (conditions == "stim"))
    types, conditions = types[keep], conditions[keep]
    z = np.column_stack([types == "A", types == "B", conditions == "stim"]).astype(np.float32)
    effects = rng.normal(scale=0.6, size=(3, 40))
    own = rng.normal(scale=0.3, size=(len(z), 3)) @ rng.normal(size=(3, 40))
    x = 6 + z @ effects + own
    obs = {"cell_type": types, "condition": conditions}
    adata = AnnData(x.astype(np.float32), obs=obs, obsm={"Z": z})
    adata.obs_names = [f"cell_{i}" for i in range(len(z))]
    return adata, effects


@pytest.fixture
def untouched_start(additive_cells, make_gan):
    """A MichiGAN whose generator is the closed-form start: neither player moves."""
    adata, _ = additive_cells
    still = {"plan_kwargs": {"lr_generator": 0.0, "lr_critic": 0.0}}
    return make_gan(adata, latent_key="Z", fit=still)


def test_source_residual_moves_real_cells_by_the_true_effect(additive_cells, untouched_start):
    adata, effects = additive_cells
    predicted = untouched_start.predict_combination(TARGET, along="condition", references=["ctrl"])
    source = adata[predicted.obs["michigan_source"].to_numpy()].X
    # What remains is the starting network: below a hundredth of a default layer's output.
    np.testing.assert_allclose(predicted.X - source, np.broadcast_to(effects[2], source.shape), atol=0.05)


def test_fresh_residual_renders_the_target_with_the_population_s_variation(additive_cells, untouched_start):
    adata, effects = additive_cells
    fresh = untouched_start.predict_combination(TARGET, residual="fresh", n_samples=4000)
    expected = 6 + effects[1] + effects[2]
    groups = pd.DataFrame(adata.X).groupby([adata.obs[key].to_numpy() for key in TARGET])
    spread = (adata.X - groups.transform("mean").to_numpy()).std(axis=0)
    # Means: sampling error of the fit with 300 cells and of 4,000 draws, five standard errors. Spreads: 1/sqrt(2 n).
    np.testing.assert_allclose(fresh.X.mean(0), expected, atol=5 * spread.max() * np.sqrt(3 / 60 + 1 / 4000))
    np.testing.assert_allclose(fresh.X.std(0), spread, rtol=0.1)


def test_source_residual_keeps_expression_from_being_negative(additive_cells, make_gan):
    adata, _ = additive_cells
    adata.X = sp.csr_matrix(np.maximum(adata.X - 6, 0) + np.float32(0.25) * (np.arange(40) == 0))
    predicted = make_gan(adata, latent_key="Z").predict_combination(TARGET)
    assert predicted.X.min() >= 0


def test_unknown_residual_is_refused(untouched_start):
    with pytest.raises(ValueError, match="residual is 'own'; it must be 'source' or 'fresh'"):
        untouched_start.predict_combination(TARGET, residual="own")


def test_several_labels_for_one_key_are_refused(untouched_start):
    with pytest.raises(ValueError, match="where is .*give one label for each obs key"):
        untouched_start.generate(5, where={"cell_type": ["A", "B"]})
    with pytest.raises(ValueError, match="target is 'B'; give one label for each obs key"):
        untouched_start.predict_combination("B")


def test_arguments_for_fitting_a_latent_are_refused_where_one_is_stored(additive_cells, make_gan):
    model = make_gan(additive_cells[0], train=False, latent_key="Z")
    with pytest.raises(ValueError, match=r"latent_kwargs are for fitting a latent, but obsm\['Z'\] is registered"):
        model.train(latent_kwargs={"max_epochs": 2})


def test_interferon_response_of_hidden_b_cells_is_predicted(shared_file):
    adata = read_h5ad(shared_file("kang_pbmc_ifnb.h5ad"))
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)[:3000]].copy()
    hidden = ((adata.obs["cell_type"] == "B cells") & (adata.obs["condition"] == "stim")).to_numpy()
    variance = np.var(np.log1p(adata[~hidden].X.toarray()), axis=0)
    genes = np.argsort(-variance)[:300]
    train, real = adata[~hidden, genes].copy(), adata[hidden, genes].copy()
    MichiGAN.setup_anndata(train, size_factor_key="total_counts")
    model = MichiGAN(train, generator_hidden=(64, 128), critic_hidden=(128, 10))
    kwargs = {"accelerator": "cpu", "enable_progress_bar": False}
    model.train(8, latent_kwargs={"max_epochs": 25}, **kwargs)
    predicted = model.predict_combination({"cell_type": "B cells", "condition": "stim"})

    truth, x = model.get_normalized_expression(real), model.get_normalized_expression()
    control = x[((train.obs["cell_type"] == "B cells") & (train.obs["condition"] == "ctrl")).to_numpy()]
    distance = metrics.e_distance(predicted, truth, basis=x)
    # A short training on few genes: far closer than doing nothing, and the right genes move.
    assert distance < 0.35 * metrics.e_distance(control, truth, basis=x)
    assert metrics.mean_change_correlation(predicted, truth, control) > 0.85


def test_a_summary_finds_all_that_a_prediction_can_be_judged_by(make_gan):
    """Latents of the hidden cells, and other drugs in the same cell type, are all it takes beside the cells."""
    adata = datasets.screen(960, 40, n_cell_types=2, n_treatments=4, seed=0)
    target = {"cell_type": "type B", "condition": "drug 1"}
    is_hidden = (adata.obs[list(target)] == list(target.values())).all(axis=1).to_numpy()
    train, hidden = adata[~is_hidden].copy(), adata[is_hidden].copy()
    model = make_gan(train, size_factor_key="total_counts")
    predicted = model.predict_combination(target, seed=0)
    hidden.X, hidden.obsm["X_michigan"] = (
        model.get_normalized_expression(hidden),
        model.get_latent_representation(hidden),
    )
    train.X = model.get_normalized_expression()
    table = metrics.summary(train, None, predicted, target=hidden, control={"condition": "control"}, n_trees=5)
    rank, entropy = table["model"].loc[[("prediction", "discrimination rank"), ("latent arithmetic", "delta entropy")]]
    assert rank in (0, 0.5, 1)  # of two others
    rows = np.isfinite(train.obsm["X_michigan_predicted"]).all(axis=1)
    posterior = train.obsm["X_michigan"], train.obsm["X_michigan_var"]
    expected = metrics.delta_entropy(train.obsm["X_michigan_predicted"][rows], hidden.obsm["X_michigan"], *posterior)
    assert entropy == pytest.approx(expected)
