"""Small cells and small networks, shared by the tests."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
from anndata import AnnData

from scmichigan import BetaTCVAE, MichiGAN, datasets


@pytest.fixture(scope="session")
def screen_cells():
    return datasets.screen(240, 40, n_treatments=3, n_batches=2, seed=0)


@pytest.fixture
def counts(screen_cells):
    """240 cells of 3 types x 3 treatments x 2 batches with raw counts."""
    return screen_cells.copy()


@pytest.fixture
def logged(counts):
    """The same cells, log-normalised beforehand."""
    totals = counts.obs["total_counts"].to_numpy()
    counts.X = sp.csr_matrix(np.log1p(counts.X.toarray() * (1e4 / totals)[:, None]), dtype=np.float32)
    return counts


@pytest.fixture
def stored(counts):
    """The same cells with a latent in obsm["Z"] and its variance in obsm["V"]."""
    rng = np.random.default_rng(0)
    types = counts.obs["cell_type"].cat.codes.to_numpy()
    conditions = counts.obs["condition"].cat.codes.to_numpy()
    means = np.column_stack([types, conditions, np.zeros(counts.n_obs)]) + rng.normal(0, 0.3, (counts.n_obs, 3))
    counts.obsm["Z"] = means.astype(np.float32)
    counts.obsm["V"] = rng.uniform(0.01, 0.1, means.shape).astype(np.float32)
    return counts


@pytest.fixture(autouse=True)
def seed():
    """Seed scvi-tools before each test."""
    scvi.settings.seed = 0


@pytest.fixture(scope="session")
def shared_file():
    """Path of a data set that lies beside the repository; its test is skipped where it does not."""
    return lambda name: _beside_the_repository("data", name)


@pytest.fixture(scope="session")
def reference():
    """What the simulators of others made, from a file beside the repository; its test is skipped where there is none."""
    return lambda name: json.loads(_beside_the_repository("reference", name).read_text())


def _beside_the_repository(folder: str, name: str) -> Path:
    variable = f"SCMICHIGAN_{folder.upper()}"
    path = Path(os.environ.get(variable, Path(__file__).parents[2] / "shared" / folder)) / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set {variable} to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def small():
    """Arguments that keep networks and training small."""
    fit = {"max_epochs": 2, "batch_size": 64, "accelerator": "cpu", "enable_progress_bar": False}
    networks = {"generator_hidden": (16,), "critic_hidden": (16, 4)}
    return SimpleNamespace(
        networks=networks,
        gan={**networks, "n_noise": 5},
        vae={"n_latent": 3, "hidden": (16, 8)},
        fit=fit,
        # enough steps for the generator to be trained, which is every second
        gan_fit={**fit, "plan_kwargs": {"n_critic": 2}},
    )


@pytest.fixture
def make_gan(small):
    """Set up and train a small MichiGAN."""

    def make(adata: AnnData, *, train: bool = True, fit: dict | None = None, init: dict | None = None, **setup):
        MichiGAN.setup_anndata(adata, **setup)
        model = MichiGAN(adata, **{"n_latent": 3, **small.gan, **(init or {})})
        if train:
            own = {} if "latent_key" in setup else {"latent_kwargs": {"max_epochs": small.fit["max_epochs"]}}
            model.train(**{**small.gan_fit, **own, **(fit or {})})
        return model

    return make


@pytest.fixture
def make_vae(small):
    """Set up and train a small beta-TCVAE."""

    def make(adata: AnnData, *, train: bool = True, fit: dict | None = None, init: dict | None = None, **setup):
        BetaTCVAE.setup_anndata(adata, **setup)
        model = BetaTCVAE(adata, **{**small.vae, **(init or {})})
        if train:
            model.train(**{**small.fit, **(fit or {})})
        return model

    return make


@pytest.fixture
def assert_unchanged():
    """Compare an AnnData with a copy that was taken earlier, but for the keys that may have been written."""

    def check(adata: AnnData, before: AnnData, *, written: tuple[str, ...] = ()) -> None:
        _assert_same_matrix(adata.X, before.X)
        assert list(adata.layers) == list(before.layers)
        for key in before.layers:
            _assert_same_matrix(adata.layers[key], before.layers[key])
        new = [c for c in adata.obs if c not in before.obs]
        assert [c for c in new if not c.startswith("_scvi_")] == []
        assert adata.obs[list(before.obs)].equals(before.obs)
        assert adata.var.equals(before.var)
        for part in ("obsm", "varm", "obsp", "uns"):
            now, then = getattr(adata, part), getattr(before, part)
            new = [key for key in now if key not in then]
            assert [key for key in new if not key.startswith("_scvi_") and key not in written] == []
            assert set(then) <= set(now)
        for part in ("obsm", "varm"):
            for key, values in getattr(before, part).items():
                _assert_same_matrix(getattr(adata, part)[key], values)

    return check


def _assert_same_matrix(now, then) -> None:
    assert type(now) is type(then)
    if isinstance(then, pd.DataFrame):
        assert now.equals(then)
        return
    assert now.dtype == then.dtype
    if not sp.issparse(then):
        np.testing.assert_array_equal(now, then)
        return
    assert now.format == then.format
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(now, part), getattr(then, part))
