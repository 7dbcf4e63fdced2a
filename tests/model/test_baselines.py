import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from scmichigan import GMM, PPCA, MichiGAN
from scmichigan.closed_form import fit_ppca

BOTH = [(PPCA, {"n_latent": 3}), (GMM, {"n_components": 4, "n_pcs": 6})]


def _make(cls, adata, init=None, *, train=True, **setup):
    cls.setup_anndata(adata, **setup)
    model = cls(adata, **(init or {}))
    if train:
        model.train(**({"enable_progress_bar": False} if cls is GMM else {}))
    return model


@pytest.fixture
def clusters():
    """Three far clusters of 200, 300 and 400 log-normalised cells with correlated genes, one of them constant."""
    rng = np.random.default_rng(0)
    sizes = (200, 300, 400)
    centers = np.array([[1, 4, 2, 2, 2, 2, 2], [4, 1, 2, 2, 2, 2, 2], [4, 4, 2, 2, 4, 2, 2]])
    mixing = 0.2 * rng.normal(size=(3, 7, 7))
    mixing[:, :, 6] = 0
    x = np.concatenate([c + rng.normal(size=(n, 7)) @ m for c, n, m in zip(centers, sizes, mixing, strict=True)])
    adata = AnnData(np.maximum(x, 0).astype(np.float32))
    adata.obs["cluster"] = np.repeat(["a", "b", "c"], sizes)
    return adata


# ---------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_save_and_load(counts, tmp_path, cls, init):
    model = _make(cls, counts, init, size_factor_key="total_counts")
    model.save(str(tmp_path / "alone"))
    model.save(str(tmp_path / "with cells"), save_anndata=True)
    some = counts[:7].copy()
    expected = model.get_latent_representation(indices=range(7))
    for loaded in (
        cls.load(str(tmp_path / "alone"), counts.copy(), accelerator="cpu"),
        cls.load(str(tmp_path / "with cells"), accelerator="cpu"),
    ):
        np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
        np.testing.assert_array_equal(loaded.generate(10, seed=3).X, model.generate(10, seed=3).X)
        np.testing.assert_allclose(loaded.get_latent_representation(some.copy()), expected, atol=1e-6)
        if cls is GMM:
            assert loaded.bic.equals(model.bic)
    # fewer cells than latents or components are enough once the model is fitted
    few = cls.load(str(tmp_path / "alone"), counts[:3].copy(), accelerator="cpu")
    np.testing.assert_allclose(few.get_latent_representation(), expected[:3], atol=1e-6)
    assert few.generate(5, labels={}).shape == (5, 40)


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_untrained(counts, tmp_path, capsys, cls, init):
    model = _make(cls, counts, init, train=False)
    message = rf"this {cls.__name__} is untrained; call train\(\) first"
    with pytest.raises(RuntimeError, match=message):
        model.generate(3)
    with pytest.raises(RuntimeError, match=message):
        model.get_latent_representation()
    repr(model)
    assert "Training status: Not Trained" in capsys.readouterr().out
    model.save(str(tmp_path / "model"))
    loaded = cls.load(str(tmp_path / "model"), counts, accelerator="cpu")
    assert not loaded.is_trained
    loaded.train()
    assert loaded.generate(3).shape == (3, 40)


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_expression_and_description(counts, capsys, cls, init):
    model = _make(cls, counts, init, size_factor_key="total_counts", target_sum=1e3)
    expected = np.log1p(1e3 * counts.X.toarray() / counts.obs["total_counts"].to_numpy()[:, None])
    np.testing.assert_allclose(model.get_observed_expression().toarray(), expected, rtol=1e-5)
    repr(model)
    printed = " ".join(capsys.readouterr().out.split())
    assert "on raw counts of adata.X, as log1p(1000 * counts / obs['total_counts'])" in printed
    assert "Training status: Trained" in printed
    assert model.device.type == "cpu"


@pytest.mark.parametrize(("cls", "init"), BOTH)
@pytest.mark.parametrize("form", [np.asarray, sp.csc_matrix, sp.csr_array])
def test_forms_of_expression(counts, assert_unchanged, cls, init, form):
    sparse = _make(cls, counts.copy(), init)
    counts.X = form(counts.X.toarray())
    before = counts.copy()
    model = _make(cls, counts, init)
    np.testing.assert_allclose(
        model.get_latent_representation(), sparse.get_latent_representation(), atol=1e-3 if cls is GMM else 1e-4
    )
    model.generate(5)
    assert_unchanged(counts, before)


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_generate_from_labelled_cells(counts, tmp_path, cls, init):
    model = _make(cls, counts, init, labels_key="cell_type")
    labels = {"cell_type": "type B", "condition": "drug 1"}
    cells = model.generate(30, labels=labels, seed=1)
    assert cells.shape == (30, 40)
    assert list(cells.var_names) == list(counts.var_names)
    assert list(cells.obs) == ["cell_type", "condition", "batch", "michigan_source"]
    assert (cells.obs[list(labels)] == list(labels.values())).all(axis=None)
    assert cells.X.dtype == np.float32
    assert cells.uns["michigan"]["model"] == cls.__name__
    np.testing.assert_array_equal(model.generate(30, labels=labels, seed=1).X, cells.X)
    assert (model.generate(30, labels=labels, seed=2).X != cells.X).any()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").uns["michigan"] == cells.uns["michigan"]


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_bad_requests(counts, cls, init):
    model = _make(cls, counts, init)
    for request, error, message in [
        ({"n_samples": 0}, ValueError, "n_samples is 0; ask for at least 1 cell"),
        ({"labels": {"cell_type": "type Z"}}, ValueError, "no cell has obs.* the levels are"),
        ({"labels": {"nope": "type A"}}, KeyError, r"obs\['nope'\] does not exist"),
        ({"labels": "type A"}, ValueError, "labels is 'type A'; give one label for each obs key"),
    ]:
        with pytest.raises(error, match=message):
            model.generate(**request)
    with pytest.raises(ValueError, match="adata has 30 genes, the model was set up with 40"):
        model.get_latent_representation(counts[:, :30].copy())


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_training_arguments_are_refused(counts, cls, init):
    model = _make(cls, counts, init, train=False)
    message = rf"{cls.__name__}.train got max_epochs, accelerator; .* without epochs, minibatches or an accelerator"
    with pytest.raises(ValueError, match=message):
        model.train(max_epochs=10, accelerator="gpu")


@pytest.mark.parametrize(("cls", "init"), BOTH)
@pytest.mark.parametrize(
    "covariates",
    [
        {"batch_key": "batch"},
        {"categorical_covariate_keys": ["batch"]},
        {"continuous_covariate_keys": ["pseudotime"]},
    ],
)
def test_batches_and_covariates_are_refused(counts, assert_unchanged, cls, init, covariates):
    before = counts.copy()
    with pytest.raises(ValueError, match=rf"{cls.__name__} does not model batches or covariates, but .*; leave them"):
        cls.setup_anndata(counts, **covariates)
    assert_unchanged(counts, before)


@pytest.mark.parametrize(("cls", "init"), BOTH)
def test_equal_cells_are_refused(counts, cls, init):
    with pytest.raises(ValueError, match="the expression of all 240 cells is the same"):
        _make(cls, AnnData(sp.csr_matrix(np.ones((240, 40), np.float32))), init)


# ---------------------------------------------------------------------------------------------------------- PPCA


def test_ppca_latents(counts):
    model = _make(PPCA, counts, {"n_latent": 3})
    mean, var = model.get_latent_representation(return_dist=True)
    x = model.get_observed_expression().toarray().astype(np.float64)
    expected = fit_ppca(x, 3).posterior(x)
    # kept in single precision, of expression up to 9 in 40 genes
    np.testing.assert_allclose(mean, expected[0], atol=1e-4)
    np.testing.assert_allclose(var, expected[1], rtol=1e-4)
    np.testing.assert_array_equal(model.get_latent_representation(), mean)
    rows = [5, 2, 200]
    np.testing.assert_allclose(model.get_latent_representation(indices=rows), mean[rows], atol=1e-6)
    np.testing.assert_allclose(model.get_latent_representation(counts[rows]), mean[rows], atol=1e-5)


def test_ppca_generates_from_prior_posterior_and_given_latents(counts):
    model = _make(PPCA, counts, {"n_latent": 3})
    parameters = model.module.arrays
    n = 4000
    given = np.random.default_rng(0).normal(size=(n, 3))
    requests = {"prior": {"n_samples": n}, "posterior": {"n_samples": n, "labels": {}}, "given": {"latent": given}}
    for source, request in requests.items():
        cells = model.generate(**request, seed=1)
        assert cells.uns["michigan"] == {"model": "PPCA", "latent": source, "seed": 1}
        assert ("michigan_source" in cells.obs) == (source == "posterior")
        z = cells.obsm["X_michigan"]
        noise = cells.X - z @ parameters["loadings"].T - parameters["mean"]
        assert abs((noise**2).mean() / parameters["noise_variance"] - 1) < 5 * np.sqrt(2 / noise.size)
        if source == "given":
            np.testing.assert_array_equal(z, given.astype(np.float32))
            continue
        if source == "posterior":
            mean, var = model.get_latent_representation(return_dist=True)
            rows = counts.obs_names.get_indexer(cells.obs["michigan_source"])
            z = (z - mean[rows]) / np.sqrt(var[rows])
        assert abs(z.mean()) < 5 / np.sqrt(z.size)
        assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / z.size)


def test_ppca_bad_input(counts):
    with pytest.raises(ValueError, match="n_latent is 0; a latent needs at least 1 dimension"):
        _make(PPCA, counts, {"n_latent": 0})
    for cells, n_latent, message in [
        (counts[:5].copy(), 10, "n_latent is 10, the data have 5 cells and 40 genes"),
        (counts, 40, "n_latent is 40, the data have 240 cells and 40 genes"),
    ]:
        with pytest.raises(ValueError, match=message):
            _make(PPCA, cells, {"n_latent": n_latent})
    model = _make(PPCA, counts, {"n_latent": 3})
    for request, message in [
        ({"latent": np.zeros((4, 2))}, r"latent has shape \(4, 2\); the model takes \(n_samples, 3\)"),
        ({"latent": np.full((1, 3), np.nan)}, "latent is not finite in row 0"),
        ({"latent": np.zeros((4, 3)), "labels": {}}, "labels and latent were both given; .* leave one out"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.generate(**request)


def test_michigan_on_ppca_latents(counts, make_gan):
    ppca = _make(PPCA, counts, {"n_latent": 3})
    counts.obsm["X_ppca"], counts.obsm["X_ppca_var"] = ppca.get_latent_representation(return_dist=True)
    gan = make_gan(counts, latent_key="X_ppca", latent_var_key="X_ppca_var", fit={"max_epochs": 1})
    assert isinstance(gan, MichiGAN)
    np.testing.assert_array_equal(gan.get_latent_representation(), ppca.get_latent_representation())
    assert np.isfinite(gan.generate(20).X).all()
    # both models stay usable on the cells that they share
    assert ppca.generate(5, labels={"cell_type": "type A"}).shape == (5, 40)


# ----------------------------------------------------------------------------------------------------------- GMM


@pytest.mark.parametrize("n_pcs", [None, 3, 50])
def test_gmm_finds_clusters(clusters, n_pcs):
    model = _make(GMM, clusters, {"n_components": (5, 1, 2, 3), "covariance_type": "full", "n_pcs": n_pcs})
    assert list(model.bic.index) == [1, 2, 3, 5]
    assert model.bic["full"].idxmin() == 3
    p, var = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(var, p * (1 - p))
    labels = clusters.obs["cluster"].astype("category").cat.codes.to_numpy()
    for label in range(3):
        assert len(np.unique(p[labels == label].argmax(1))) == 1
    cells = model.generate(90, labels={"cluster": "b"})
    assert (model.get_latent_representation(clusters)[labels == 1].mean(0).round() == cells.obsm["X_michigan"]).all()
    centers = np.stack([clusters.X[labels == label].mean(0) for label in range(3)])
    assert (np.linalg.norm(cells.X[:, None] - centers, axis=2).argmin(1) == 1).all()


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("n_pcs", [None, 4])
def test_gmm_probabilities_and_bic(clusters, covariance_type, n_pcs):
    # Six components for three clusters, so that cells are in doubt. Bayes' rule with scipy's densities:
    model = _make(GMM, clusters, {"n_components": [6], "covariance_type": covariance_type, "n_pcs": n_pcs})
    a = {name: value.astype(float) for name, value in model.module.arrays.items()}
    z = clusters.X.astype(float) if n_pcs is None else (clusters.X - a["center"]) @ a["directions"].T
    p = a["precisions_cholesky"] if covariance_type == "full" else [np.diag(c) for c in a["precisions_cholesky"]]
    log_nc = np.column_stack(
        [
            np.log(w) + multivariate_normal.logpdf(z, m, np.linalg.inv(c @ c.T))
            for w, m, c in zip(a["weights"], a["means"], p, strict=True)
        ]
    )
    expected = np.exp(log_nc - logsumexp(log_nc, axis=1, keepdims=True))
    np.testing.assert_allclose(model.get_latent_representation(), expected, atol=1e-3)
    n, d = z.shape
    n_parameters = 5 + 6 * d + 6 * (d * (d + 1) // 2 if covariance_type == "full" else d)
    bic = n_parameters * np.log(n) - 2 * logsumexp(log_nc, axis=1).sum()
    assert model.bic.loc[6, covariance_type] == pytest.approx(bic, rel=1e-3)


@pytest.mark.parametrize("n_pcs", [None, 3])
def test_gmm_cells_have_the_moments_of_the_mixture(clusters, n_pcs):
    model = _make(GMM, clusters, {"n_components": 3, "covariance_type": "full", "n_pcs": n_pcs})
    n = 30_000
    x = model.generate(n).X.astype(float)
    real = clusters.X.astype(float)
    # A mixture that was fitted by maximum likelihood has the moments of the data, but for the variance it adds ...
    covariance = np.cov(real.T, bias=True)
    floor = 1e-3 * np.trace(covariance) / 7
    expected = covariance + floor * np.eye(7)
    if n_pcs is not None:
        # ... and, beyond the principal components, for that it takes the genes to be independent.
        values, vectors = np.linalg.eigh(covariance)
        kept = vectors[:, -3:] @ vectors[:, -3:].T
        floor = 1e-3 * values[-3:].mean()
        left = np.eye(7) - kept
        residual = np.diag(np.diag(left @ covariance @ left))
        expected = kept @ covariance @ kept + floor * kept + left @ residual @ left
    centered = x - x.mean(0)
    error = np.sqrt(np.einsum("ni,nj->ij", centered**2, centered**2) / n - expected**2) / np.sqrt(n)
    assert (np.abs(np.cov(x.T) - expected) < 5 * error + 1e-5).all()
    assert (np.abs(x.mean(0) - real.mean(0)) < 5 * np.sqrt(np.diag(expected) / n) + 1e-5).all()


def test_gmm_chooses_number_and_covariance(counts, capsys):
    GMM.setup_anndata(counts)
    model = GMM(counts)
    assert model.bic is None
    model.train()
    assert "Gaussian mixtures" in capsys.readouterr().out
    # ten cells for each component; 40 genes make 40 principal components
    assert list(model.bic.index) == [1, 2, 4, 8, 16]
    assert list(model.bic.columns) == ["full", "diag"]
    size, kind = model.bic.stack().idxmin()
    arrays = model.module.arrays
    assert arrays["precisions_cholesky"].shape == ((size, 40, 40) if kind == "full" else (size, 40))
    assert model.get_latent_representation().shape == (240, size)
    on_genes = _make(GMM, counts, {"n_pcs": None})
    assert list(on_genes.bic.columns) == ["diag"]
    assert on_genes.generate(3).uns["michigan"]["space"] == "genes"


def test_gmm_of_few_cells(counts):
    few = counts[:6].copy()
    model = _make(GMM, few)
    assert list(model.bic.index) == [1]
    assert np.isfinite(model.generate(20).X).all()
    with pytest.raises(ValueError, match="n_components is 7, there are 6 cells; ask for fewer"):
        _make(GMM, few, {"n_components": [2, 7]})
    one_each = _make(GMM, few, {"n_components": 6, "covariance_type": "diag"})
    assert np.isfinite(one_each.generate(20).X).all()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"n_components": 0}, "n_components is 0: give 1 or more"),
        ({"n_components": [0, 3]}, "n_components is 0: give 1 or more"),
        ({"n_components": []}, "n_components is empty; give at least one number"),
        ({"n_pcs": 0}, "n_pcs is 0: give 1 or more"),
        ({"covariance_type": "tied"}, "covariance_type is 'tied'; choose 'full', 'diag' or None"),
    ],
)
def test_gmm_bad_input(counts, init, message):
    with pytest.raises(ValueError, match=message):
        _make(GMM, counts, init)
