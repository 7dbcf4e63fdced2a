import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData, read_h5ad
from sklearn.decomposition import PCA

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


def test_source_residual_moves_each_gene_of_two_real_cells_to_the_target(additive_cells, untouched_start):
    adata, effects = additive_cells
    request = {"target": TARGET, "along": "condition", "weights": "equal"}
    means = pd.DataFrame(adata.X).groupby([adata.obs[key].to_numpy() for key in TARGET]).mean()
    effect = np.mean([means.loc[(c, "stim")] - means.loc[(c, "ctrl")] for c in "AC"], axis=0)
    target = means.loc[("B", "ctrl")].to_numpy() + effect
    # Means of 60 cells each; five standard errors.
    assert np.abs(target - (6 + effects[1] + effects[2])).max() < 5 * adata.X.std(axis=0).max() * np.sqrt(2 / 60)
    np.testing.assert_allclose(untouched_start.predict_combination(**request).X.mean(0), target, atol=1e-4)

    drawn = untouched_start.predict_combination(**request, n_samples=40)
    moved = []
    for kind in ("source", "partner"):
        rows = adata.obs_names.get_indexer(drawn.obs[f"michigan_{kind}"])
        own = means.loc[list(adata.obs.iloc[rows][list(TARGET)].itertuples(index=False, name=None))].to_numpy()
        moved.append((np.abs(target - own), adata.X[rows] + target - own))
    (far, source), (near, partner) = moved
    np.testing.assert_allclose(drawn.X, np.where(near < far, partner, source), atol=1e-4)
    assert 0.1 < (near < far).mean() < 0.9


def test_what_batches_add_is_no_effect_of_the_condition(additive_cells, make_gan):
    adata, effects = additive_cells
    stimulated = (adata.obs["condition"] == "stim").to_numpy()
    second = np.random.default_rng(1).random(adata.n_obs) < np.where(stimulated, 0.8, 0.2)
    adata.obs["batch"] = np.where(second, "2", "1")
    adata.X[second, 0] += 3
    request = {"target": TARGET, "along": "condition", "weights": "equal"}
    change = {}
    for batch_key in (None, "batch"):
        model = make_gan(adata.copy(), latent_key="Z", batch_key=batch_key, fit={"max_epochs": 0})
        predicted = model.predict_combination(**request)
        source = adata[predicted.obs["michigan_source"].to_numpy()].X
        change[batch_key] = predicted.X[:, 0].mean() - source[:, 0].mean()
    # 60% more of the second batch: 1.8. Means of 60 cells: five standard errors.
    tolerance = 5 * adata.X[~second, 0].std() * np.sqrt(2 / 60)
    assert change["batch"] == pytest.approx(effects[2, 0], abs=tolerance)
    assert change[None] > effects[2, 0] + 1.8 - tolerance > effects[2, 0] + tolerance / 2


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
    with pytest.raises(ValueError, match="residual is 'own'; choose 'source' or 'fresh'"):
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
    distance = metrics.e_distance(truth, predicted, basis=x)
    # A short training on few genes: far closer than doing nothing, and the right genes move.
    assert distance < 0.35 * metrics.e_distance(truth, control, basis=x)
    assert metrics.mean_change_correlation(truth, predicted, control) > 0.85


def test_the_prediction_wins_against_both_additive_ones(shared_file):
    adata = read_h5ad(shared_file("kang_pbmc_ifnb.h5ad"))
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)[:3000]].copy()
    adata.X = np.log1p(adata.X.toarray() * (1e4 / adata.obs["total_counts"].to_numpy())[:, None]).astype(np.float32)
    types, conditions = (adata.obs[key].to_numpy() for key in ("cell_type", "condition"))
    rows = {}
    for hidden in np.unique(types):
        seen = ~((types == hidden) & (conditions == "stim"))
        genes = np.argsort(-adata.X[seen].var(axis=0))[:300]
        train, truth = adata[seen, genes].copy(), adata[~seen, genes].X
        pca = PCA(50, random_state=0).fit(train.X)
        train.obsm["Z"] = pca.transform(train.X)[:, :10]
        MichiGAN.setup_anndata(train, latent_key="Z")
        model = MichiGAN(train)
        model.train(0, accelerator="cpu", enable_progress_bar=False)
        predicted = model.predict_combination({"cell_type": hidden, "condition": "stim"})
        control, *contexts = (
            tuple(adata.X[(types == each) & (conditions == condition)][:, genes] for condition in ("ctrl", "stim"))
            for each in (hidden, *sorted(set(types) - {hidden}))
        )
        cells = [predicted, *(f(control[0], contexts) for f in (metrics.additive, metrics.additive_weighted))]
        rows[hidden] = [metrics.e_distance(truth, each, basis=pca) for each in cells]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["predicted", "additive", "weighted"])
    assert table["predicted"].mean() < 0.9 * table["weighted"].mean() < 0.9 * table["additive"].mean()
    assert (table["predicted"] < table["weighted"]).sum() >= 6


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
    table = metrics.summary(train, None, predicted, hidden=hidden, control_labels={"condition": "control"}, n_trees=5)
    rank, entropy = table["model"].loc[[("prediction", "discrimination rank"), ("latent arithmetic", "delta entropy")]]
    assert rank in (0, 0.5, 1)  # of two others
    rows = np.isfinite(train.obsm["X_michigan_predicted"]).all(axis=1)
    posterior = {"mean": train.obsm["X_michigan"], "var": train.obsm["X_michigan_var"]}
    expected = metrics.delta_entropy(hidden.obsm["X_michigan"], train.obsm["X_michigan_predicted"][rows], **posterior)
    assert entropy == pytest.approx(expected)
