"""scanpy takes everything that the models return."""

from types import SimpleNamespace

import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
from anndata import AnnData

from scmichigan import GMM, PPCA, BetaTCVAE, MichiGAN, datasets

TARGET = {"cell_type": "type B", "condition": "drug 1"}
# What is returned, and the column whose labels are compared.
RETURNED = {
    "generate": (lambda m: m.gan.generate(60), "cell_type"),
    "generate, beta-TCVAE": (lambda m: m.vae.generate(60), "cell_type"),
    "generate, PPCA": (lambda m: m.ppca.generate(60, labels={}), "cell_type"),
    "generate, GMM": (lambda m: m.gmm.generate(60, labels={}), "cell_type"),
    "traverse": (lambda m: m.gan.traverse(n_steps=5, n_walks=4), "step"),
    "predict_combination": (lambda m: m.gan.predict_combination(TARGET), "batch"),
    "predict_combination, generator": (lambda m: m.gan.predict_combination(TARGET, method="paper"), "batch"),
    "predict_all": (
        lambda m: m.gan.predict_all(["cell_type", "condition"], n_samples=60, enable_progress_bar=False),
        "batch",
    ),
    "get_observed_expression": (lambda m: _observed(m.gan), "cell_type"),
    "get_observed_expression, beta-TCVAE": (lambda m: _observed(m.vae), "cell_type"),
    "get_normalized_expression": (lambda m: _decoded(m.gan), "cell_type"),
}
CALLS = {
    "rank_genes_groups": lambda cells, key: sc.tl.rank_genes_groups(cells, key),
    "highly_variable_genes": lambda cells, key: sc.pp.highly_variable_genes(cells, n_top_genes=10),
    "scale": lambda cells, key: sc.pp.scale(cells, zero_center=not sp.issparse(cells.X)),
    "score_genes": lambda cells, key: sc.tl.score_genes(cells, list(cells.var_names[:5]), ctrl_size=5, n_bins=5),
}


def _observed(model):
    """Observed expression in place of the counts."""
    cells = AnnData(model.get_observed_expression(), obs=model.adata.obs.copy(), var=model.adata.var.copy())
    assert not sp.issparse(cells.X) or isinstance(cells.X, sp.csr_matrix)
    return cells


def _decoded(model):
    # An array: the values of a data frame are read-only under pandas 3.
    x = np.log1p(model.get_normalized_expression(library_size=1e4, return_numpy=True))
    return AnnData(x, obs=model.adata.obs.copy(), var=model.adata.var.copy())


@pytest.fixture(scope="module", params=["sparse", "dense"])
def models(request, small):
    """Each kind of model, without the cells of one combination."""
    adata = datasets.screen(300, 60, n_treatments=3, n_batches=2, seed=0)
    adata = adata[~((adata.obs["cell_type"] == "type B") & (adata.obs["condition"] == "drug 1"))].copy()
    adata.obsm["Z"] = np.random.default_rng(0).normal(size=(adata.n_obs, 3)).astype(np.float32)
    if request.param == "dense":
        adata.X = adata.X.toarray()
    MichiGAN.setup_anndata(adata, latent_key="Z")
    gan = MichiGAN(adata, **small.gan)
    gan.train(max_epochs=0)
    BetaTCVAE.setup_anndata(adata)
    vae = BetaTCVAE(adata, **small.vae)
    vae.train(**small.fit)
    PPCA.setup_anndata(adata)
    ppca = PPCA(adata, n_latent=3)
    ppca.train()
    GMM.setup_anndata(adata)
    gmm = GMM(adata, n_components=3, n_pcs=5)
    gmm.train()
    return SimpleNamespace(gan=gan, vae=vae, ppca=ppca, gmm=gmm)


@pytest.mark.parametrize("what", RETURNED)
@pytest.mark.parametrize("call", CALLS)
# Means of a normal likelihood and normal samples may be negative, of which scanpy's fold changes and dispersions have no logarithm.
@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")
def test_scanpy(models, what, call):
    make, key = RETURNED[what]
    cells = make(models)
    cells.obs[key] = cells.obs[key].astype(str).astype("category")
    CALLS[call](cells, key)
    if call.startswith("rank"):
        scores = cells.uns["rank_genes_groups"]["scores"]
        assert len(scores.dtype.names) == cells.obs[key].nunique() > 1
        assert np.isfinite(scores[scores.dtype.names[0]]).all()
    elif call.startswith("highly"):
        assert 10 <= cells.var["highly_variable"].sum() < 30  # more than 10 where several are as variable
    elif call.startswith("scale"):
        assert np.isfinite(cells.X.data if sp.issparse(cells.X) else cells.X).all()
    else:
        assert np.isfinite(cells.obs["score"]).all()
