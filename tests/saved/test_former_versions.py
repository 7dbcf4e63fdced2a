"""Models that former versions saved are loaded, and answer as they did."""

import zipfile
from pathlib import Path

import anndata
import numpy as np
import pytest

import scmichigan as mg

FILES = sorted(Path(__file__).parent.glob("*.zip"))
NAMES = ["BetaTCVAE", "GMM", "InfoWGANGP", "MichiGAN_own", "MichiGAN_scvi", "MichiGAN_stored", "PPCA", "WGANGP"]
LATENT_MODELS = {"MichiGAN_own": "BetaTCVAE", "MichiGAN_scvi": "SCVI"}


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.stem)
    zipfile.ZipFile(request.param).extractall(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*was saved with:UserWarning")
def test_models_of_former_versions(folder, name):
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == NAMES
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    model = getattr(mg, name.partition("_")[0]).load(folder / name, cells, accelerator="cpu")
    expected = np.load(folder / name / "answers.npz")
    generated = model.generate(10, seed=1)
    # Kernels differ between versions of torch in the last digits of single precision.
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(generated.X, expected["x"], **tolerance)
    np.testing.assert_allclose(generated.obsm["X_michigan"], expected["z"], **tolerance)
    if "latent" in expected:
        np.testing.assert_allclose(model.get_latent_representation(), expected["latent"], **tolerance)
    assert type(getattr(model, "latent_model", None)).__name__ == LATENT_MODELS.get(name, "NoneType")
