"""RNA and proteins of the same cells, generated together.

Legend: n cells, g genes, p proteins, k latents.
"""

from contextlib import nullcontext

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
from anndata import AnnData
from mudata import MuData

from scmichigan import MichiGAN, _keys
from scmichigan._arrays import dense
from scmichigan.model import BetaTCVAE

N, G, P, K = 2000, 40, 8, 3
WHERE = {"rna_layer": "rna", "protein_layer": "protein"}
FIT = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "batch_size": 64}


def draw(seed):
    """Counts of both modalities, each with a depth of its own, and the latent that both follow."""
    truth, rng = np.random.default_rng(0), np.random.default_rng(seed)
    loadings, level = truth.normal(0, 0.4, (K, G + P)), truth.normal(0, 0.7, G + P)
    noise = truth.normal(0, 0.15, (2, G + P))
    z_nk = rng.normal(size=(N, K)).astype(np.float32)
    rate = np.exp(z_nk @ loadings + level + rng.normal(size=(N, 2)) @ noise)
    depth_n2 = rng.uniform([40, 200], [80, 600], (N, 2))
    parts = (rate[:, :G], rate[:, G:])
    counts = [rng.poisson(r / r.sum(1, keepdims=True) * d[:, None]) for r, d in zip(parts, depth_n2.T, strict=True)]
    return *(np.maximum(c, 0).astype(np.float32) for c in counts), z_nk


@pytest.fixture(autouse=True, scope="module")
def _columns_stay():
    """As mudata 0.4 has it, without the warning of 0.3."""
    with mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext():
        yield


@pytest.fixture(scope="module")
def cells(_columns_stay):
    rna, protein, z_nk = draw(1)
    obs = pd.DataFrame(index=[f"cell_{i}" for i in range(N)])
    genes, proteins = ([f"{name}_{i}" for i in range(n)] for name, n in (("gene", G), ("protein", P)))
    mdata = MuData(
        {
            "rna": AnnData(sp.csr_matrix(rna), obs.copy(), pd.DataFrame(index=genes)),
            "protein": AnnData(protein, obs.copy(), pd.DataFrame(index=proteins)),
        }
    )
    mdata.obsm["Z"] = z_nk
    return mdata


def fitted(data, **setup):
    """The closed form on stored latents."""
    register = MichiGAN.setup_mudata if isinstance(data, MuData) else MichiGAN.setup_anndata
    register(data, latent_key="Z", **setup)
    scvi.settings.seed = 0
    model = MichiGAN(data, critic_hidden=(8, 4), generator_hidden=(8,))
    model.train(max_epochs=0)
    return model


@pytest.fixture(scope="module")
def closed_form(cells):
    return fitted(cells.copy(), modalities=WHERE)


@pytest.fixture
def screen(counts):
    """The screen's cells, whose last 5 genes stand for proteins, with labels in the RNA's obs."""
    rna, protein = counts[:, :-5].copy(), counts[:, -5:].copy()
    protein.obs = protein.obs[[]]
    protein = AnnData(protein.X.toarray() + 1, protein.obs, protein.var[[]])
    return MuData({"rna": rna, "protein": protein})


@pytest.mark.parametrize("seed", [0, 1])
def test_moments_of_both_modalities_are_those_of_other_real_cells(closed_form, seed):
    made = closed_form.generate(N, seed=seed)
    # Cells that no fit has seen. Sampling errors add up: of these, of the generated ones, and of the fit.
    for name, counts in zip(("rna", "protein"), draw(2)[:2], strict=True):
        x = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
        for of_cells in (lambda a: a, lambda a: (a - a.mean(axis=0)) ** 2, lambda a: a == 0):
            real, generated = of_cells(x), of_cells(made[name].X)
            # What one cell in N has may well be missing from the real ones: the variance is no less than that of such zeros.
            error = np.sqrt(3 * np.maximum(real.var(axis=0), 1 / N) / N)
            assert (np.abs(real.mean(axis=0) - generated.mean(axis=0)) <= 5 * error).all()


def test_genes_and_proteins_vary_together(closed_form):
    made = closed_form.generate(N, seed=0)
    rna, protein = (np.log1p(1e4 * c / c.sum(axis=1, keepdims=True)) for c in draw(2)[:2])

    def across(x_ng, y_np):
        return np.corrcoef(x_ng, y_np, rowvar=False)[:G, G:]

    # The standard error of a correlation is at most 1 / sqrt(n); of two, of 320 pairs, one fit between them.
    assert np.abs(across(rna, protein) - across(made["rna"].X, made["protein"].X)).max() < 5 * np.sqrt(3 / N)
    assert np.abs(across(rna, protein)).max() > 0.3


def test_each_modality_has_its_own_size_factor(closed_form):
    totals = np.stack(
        [np.asarray(closed_form.adata[m].X.sum(axis=1)).ravel()[:500] for m in ("rna", "protein")], axis=1
    )
    z = closed_form.adata.obsm["Z"][:500]
    sums = {}
    for name, factor in {"own": [1, 1], "deep rna": [2, 1], "deep proteins": [1, 2]}.items():
        made = closed_form.generate(latent=z, size_factor=totals * factor, seed=0)
        sums[name] = np.array([made[m].layers["counts"].sum() for m in ("rna", "protein")])
    # Latents and noise are the same, so that sums are Poisson of the same rate, times the factor: those of f times a rate,
    # less f times those of it, have a variance of (f + f^2) times the rate.
    for name, factor in {"deep rna": np.array([2, 1]), "deep proteins": np.array([1, 2])}.items():
        assert (np.abs(sums[name] - factor * sums["own"]) < 5 * np.sqrt((factor + factor**2) * sums["own"])).all()
    # One number is the RNA's, and the proteins' totals are those of the source cells, on average those of all
    made = closed_form.generate(N, size_factor=1000, seed=0)
    of_rna, of_protein = (np.asarray(made[m].layers["counts"].sum(axis=1)).ravel() for m in ("rna", "protein"))
    assert np.abs(of_rna.mean() - 1000) < 5 * of_rna.std() / np.sqrt(N) + 10  # rates of a latent add up to 1 on average
    all_totals = pd.Series(closed_form.adata["protein"].X.sum(axis=1), closed_form.adata.obs_names)
    asked_for = all_totals[made.obs[_keys.SOURCE]].to_numpy()
    assert (
        np.abs((of_protein - asked_for) / np.sqrt(asked_for)).max() < 6
    )  # each is Poisson, of rates that add up to it


def test_the_cells(closed_form, cells):
    made = closed_form.generate(30, seed=0)
    assert isinstance(made, MuData)
    assert list(made.mod) == ["rna", "protein"]
    for name in made.mod:
        assert list(made[name].var_names) == list(cells[name].var_names)
        counts = made[name].layers["counts"]
        counts = counts.toarray() if sp.issparse(counts) else counts
        np.testing.assert_array_equal(counts, np.round(counts))
        np.testing.assert_allclose(
            made[name].X, np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)), rtol=1e-5, atol=1e-6
        )
    assert made.obsm[_keys.LATENT].shape == (30, K)
    assert made.uns[_keys.PROVENANCE]["model"] == "MichiGAN"
    assert set(made.obs[_keys.SOURCE]) <= set(cells.obs_names)
    assert not set(made.obsm) & {_keys.PROTEINS, _keys.PROTEIN_COUNTS}


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_an_anndata_with_proteins_in_obsm_gives_the_same(cells, kind):
    mdata = cells[:300].copy()
    adata, protein = mdata["rna"].copy(), mdata["protein"].X
    frame = pd.DataFrame(protein, index=adata.obs_names, columns=mdata["protein"].var_names)
    adata.obsm["adt"] = {"array": protein, "frame": frame, "sparse": sp.csr_matrix(protein)}[kind]
    adata.obsm["Z"] = mdata.obsm["Z"]
    models = fitted(mdata, modalities=WHERE), fitted(adata, protein_expression_obsm_key="adt")
    for expected, found in zip(*(model.get_observed_expression() for model in models), strict=True):
        np.testing.assert_allclose(dense(found), dense(expected), rtol=1e-5)
    expected, made = (model.generate(50, seed=1) for model in models)
    assert isinstance(made, AnnData)
    assert isinstance(made.obsm["adt"], pd.DataFrame) == (kind == "frame")
    np.testing.assert_array_equal(made.layers["counts"].toarray(), expected["rna"].layers["counts"].toarray())
    np.testing.assert_array_equal(made.obsm["adt"], expected["protein"].layers["counts"])
    np.testing.assert_array_equal(made.obsm[_keys.PROTEINS], expected["protein"].X)


def test_a_latent_of_both_is_fitted_where_none_is_stored(screen, small, tmp_path):
    MichiGAN.setup_mudata(
        screen,
        batch_key="batch",
        size_factor_key="total_counts",
        modalities=WHERE | {"batch_key": "rna", "size_factor_key": "rna"},
    )
    model = MichiGAN(screen, n_latent=3, **small.gan)
    model.train(**small.gan_fit, latent_kwargs={"max_epochs": 2})
    assert isinstance(model.latent_model, BetaTCVAE)
    assert screen.obsm[_keys.LATENT].shape == (screen.n_obs, 3)
    made = model.generate(20, labels={"cell_type": "type B"}, seed=1)
    assert set(made["rna"].obs["cell_type"]) == set(made.obs["cell_type"]) == {"type B"}
    assert "total_counts" in made["rna"].obs
    assert "total_counts" not in made["protein"].obs
    assert model.latent_recovery(n_cells=100)["generated"].notna().all()
    decoded = model.latent_model.generate(latent=made.obsm[_keys.LATENT])
    assert decoded["protein"].shape == (20, 5)
    assert model.cells.describe() == (
        "raw counts of mdata['rna'].X and mdata['protein'].X, as log1p(10000 * counts / obs['total_counts'] (of proteins, "
        "their sum))"
    )

    model.save(tmp_path / "model")
    loaded = MichiGAN.load(tmp_path / "model", screen.copy())
    for name in made.mod:
        np.testing.assert_array_equal(loaded.generate(20, labels={"cell_type": "type B"}, seed=1)[name].X, made[name].X)


def test_walks_and_predictions(screen):
    screen.obsm["Z"] = np.random.default_rng(0).normal(size=(screen.n_obs, 2)).astype(np.float32)
    hidden = (screen["rna"].obs["cell_type"] == "type A") & (screen["rna"].obs["condition"] == "drug 1")
    model = fitted(screen[~hidden.to_numpy()].copy(), modalities=WHERE)
    walk = model.traverse({"cell_type": "type B"}, n_steps=3, n_walks=2)
    assert walk["protein"].shape == (12, 5)
    assert list(walk.obs["step"][:3]) == [1, 2, 3]
    predicted = model.predict_combination({"cell_type": "type A", "condition": "drug 1"})
    seen = model.predict_all(["cell_type", "condition"], n_samples=10, enable_progress_bar=False)
    for cells in (predicted, seen):
        assert set(cells.obs["cell_type"]) == {"type A"}
        for name in ("rna", "protein"):
            assert cells[name].n_vars == screen[name].n_vars
            assert cells[name].layers["counts"].min() >= 0
    assert _keys.PREDICTED_LATENT in model.adata.obsm


def _totalvi(mdata):
    scvi.model.TOTALVI.setup_mudata(
        mdata, batch_key="batch", modalities=WHERE | {"batch_key": "rna"}, protein_layer=None
    )
    return scvi.model.TOTALVI(mdata, n_latent=3, empirical_protein_background_prior=False)


def _multivi(mdata):
    modalities = {"rna_layer": "rna", "atac_layer": "atac", "batch_key": "rna"}
    scvi.model.MULTIVI.setup_mudata(mdata, batch_key="batch", modalities=modalities)
    return scvi.model.MULTIVI(mdata, n_latent=3, n_genes=mdata["rna"].n_vars, n_regions=mdata["atac"].n_vars)


@pytest.mark.filterwarnings("ignore")  # of scvi-tools' models
@pytest.mark.parametrize("make", [_totalvi, _multivi])
def test_latents_of_scvi_tools(screen, small, tmp_path, make):
    if make is _multivi:
        peaks = np.random.default_rng(0).poisson(0.5, (screen.n_obs, 12)).astype(np.float32)
        screen = MuData({"rna": screen["rna"], "atac": AnnData(peaks, screen["rna"].obs[[]])})
        screen.obs["_indices"] = np.arange(screen.n_obs)  # which MULTIVI looks for in new cells, and gives to its own
    seen, new = screen[:200].copy(), screen[200:].copy()
    latent_model = make(seen)
    latent_model.train(**FIT)
    mean, var = latent_model.get_latent_representation(return_dist=True)
    of_new = latent_model.get_latent_representation(new)

    model = MichiGAN.from_latent_model(
        latent_model, setup_kwargs={"labels_key": "cell_type", "modalities": {"labels_key": "rna"}}, **small.gan
    )
    assert model.registry["setup_args"]["batch_key"] == "batch"
    assert model.module.inputs.n_levels["n_batch"] == 2
    np.testing.assert_allclose(seen.obsm[_keys.LATENT], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.obsm[_keys.LATENT_VAR], var, rtol=1e-4, atol=1e-5)
    model.train(**small.gan_fit)
    made = model.generate(20, seed=1)
    assert list(made.mod) == (["rna", "protein"] if make is _totalvi else ["rna"])
    for name in made.mod:
        assert made[name].layers["counts"].shape == (20, screen[name].n_vars)
    # another registration of the same cells has not harmed the latent model
    np.testing.assert_allclose(latent_model.get_latent_representation(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.get_latent_representation(new), of_new, rtol=1e-4, atol=1e-5)
    assert model.latent_recovery(new, n_cells=20)["generated"].notna().all()

    model.save(tmp_path / "model")
    loaded = MichiGAN.load(tmp_path / "model", seen)
    assert type(loaded.latent_model) is type(latent_model)
    np.testing.assert_allclose(loaded.get_latent_representation(new), of_new, rtol=1e-4, atol=1e-5)
    for name in made.mod:
        np.testing.assert_array_equal(loaded.generate(20, seed=1)[name].X, made[name].X)


def _with_protein(mdata, change):
    """The same cells with other proteins."""
    return MuData({"rna": mdata["rna"].copy(), "protein": change(mdata["protein"].copy())})


def _set(adata, row, column, value):
    adata.X[row, column] = value
    return adata


def _logged(adata):
    adata.X = np.log1p(adata.X)
    return adata


def _empty(adata):
    adata.X[3] = 0
    return adata


@pytest.mark.parametrize(
    ("change", "setup", "message"),
    [
        (None, {"modalities": None}, r"modalities is None; say where the RNA is .* mdata has \['rna', 'protein'\]"),
        (None, {"modalities": {"protein_layer": "protein"}}, "say where the RNA is"),
        (None, {"modalities": WHERE | {"atac_layer": "rna"}}, "modalities has 'atac_layer', which is no argument"),
        (
            None,
            {"modalities": WHERE | {"protein_layer": "adt"}},
            r"mdata\['adt'\] does not exist .*\['rna', 'protein'\]",
        ),
        (None, {"protein_layer": "raw"}, r"mdata\['protein'\].layers\['raw'\] does not exist"),
        (None, {"batch_key": "b"}, r"obs\['b'\] does not exist"),
        (None, {"labels_key": "cell_type"}, r"mdata\['rna'\].obs has: add 'labels_key': 'rna' to modalities"),
        (
            None,
            {"batch_key": "b", "modalities": WHERE | {"batch_key": "rna"}},
            r"mdata\['rna'\].obs\['b'\] does not exist",
        ),
        (None, {"latent_key": "Z"}, r"obsm\['Z'\] does not exist; store the latent of these cells there first"),
        (None, {"target_sum": 0}, "target_sum is 0; it must be a positive number"),
        (lambda p: p[:-1].copy(), {}, r"mdata\['protein'\] lacks 1 of them, the first is .*; take the cells that all"),
        (lambda p: p[::-1].copy(), {}, r"mdata\['protein'\] has another order; take the cells that all"),
        (_logged, {}, r"mdata\['protein'\].X holds log-normalised values; .* must be raw counts: give the layer"),
        (lambda p: _set(p, 0, 0, np.nan), {}, r"mdata\['protein'\].X contains nan; remove or impute"),
        (lambda p: _set(p, 0, 0, -1), {}, r"mdata\['protein'\].X contains -1; expression must not be negative"),
        (_empty, {}, r"1 cells have no counts in mdata\['protein'\].X, the first is .*; remove them"),
    ],
)
def test_what_cannot_be_generated_together_is_refused(screen, change, setup, message):
    mdata = screen if change is None else _with_protein(screen, change)
    with pytest.raises((KeyError, ValueError), match=message):
        MichiGAN.setup_mudata(mdata, **({"modalities": WHERE} | setup))


@pytest.mark.parametrize(
    ("proteins", "message"),
    [
        (None, r"obsm\['adt'\] is not in adata, which has \[\]: store the protein counts there"),
        (np.full((240, 2), 0.5), r"obsm\['adt'\] holds log-normalised values; .* must be raw counts"),
        (np.ones((240, 0)), r"obsm\['adt'\] has shape \(240, 0\); store the protein counts there"),
        (pd.DataFrame({"CD3": ["a"] * 240}), r"obsm\['adt'\]\['CD3'\] holds .* values"),
        (-np.ones((240, 2)), r"obsm\['adt'\] contains -1; expression must not be negative"),
        (np.zeros((240, 2)), r"240 cells have no counts in obsm\['adt'\]"),
    ],
)
def test_what_are_no_proteins_is_refused(counts, proteins, message):
    if proteins is not None:
        counts.obsm["adt"] = proteins.set_axis(counts.obs_names) if isinstance(proteins, pd.DataFrame) else proteins
    with pytest.raises((KeyError, ValueError), match=message):
        MichiGAN.setup_anndata(counts, protein_expression_obsm_key="adt")


def test_other_misuse_is_refused(counts, logged, closed_form):
    with pytest.raises(ValueError, match="mdata is a AnnData; give a MuData, or an AnnData to setup_anndata"):
        MichiGAN.setup_mudata(counts, modalities=WHERE)
    with pytest.raises(ValueError, match="adata is a MuData; use setup_mudata"):
        MichiGAN.setup_anndata(closed_form.adata)
    with pytest.raises(ValueError, match="set up with MuData, and these cells are AnnData; give MuData"):
        closed_form.get_observed_expression(counts)
    logged.obsm["adt"] = np.ones((logged.n_obs, 2))
    with pytest.raises(ValueError, match=r"adata.X holds log-normalised values; .* must be raw counts"):
        MichiGAN.setup_anndata(logged, protein_expression_obsm_key="adt")
    with pytest.raises(ValueError, match=r"size_factor has shape \(7, 3\) and minimum 1; give one positive total"):
        closed_form.generate(7, size_factor=np.ones((7, 3)))
    # other proteins than those that the model knows
    other = closed_form.adata[:50].copy()
    other["protein"].var_names = [f"other_{i}" for i in range(P)]
    with pytest.raises(
        ValueError, match=r"mdata\['protein'\] has 8 genes, the model was set up with 8, and they differ"
    ):
        closed_form.get_observed_expression(other)


def test_what_has_no_counts_of_both_is_refused(screen):
    BetaTCVAE.setup_mudata(screen, modalities=WHERE)
    with pytest.raises(
        ValueError, match=r"gene_likelihood is 'nb', but .* it is for RNA alone: leave gene_likelihood out"
    ):
        BetaTCVAE(screen, gene_likelihood="nb")
    screen.uns["_scvi_adata_minify_type"] = "latent_posterior_parameters"
    with pytest.raises(ValueError, match="mdata was minified by scvi-tools .* take the MuData from before"):
        MichiGAN.setup_mudata(screen, modalities=WHERE)
