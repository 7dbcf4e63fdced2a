"""Models that one set of versions saved, loaded by another.

``make test-next`` names the Python of the other set; without it there is nothing to compare.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scvi
from anndata import AnnData

import scmichigan as mg

OTHER_PYTHON = os.environ.get("SCMICHIGAN_OTHER_PYTHON")
FIT = {"max_epochs": 2, "batch_size": 64, "accelerator": "cpu", "enable_progress_bar": False}
SMALL = {"generator_hidden": (16,), "critic_hidden": (16, 4), "n_noise": 5}


def _cells() -> AnnData:
    """Cells of NumPy's generator alone, which gives the same ones everywhere."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=150)
    adata = AnnData(rng.poisson(np.exp(rng.normal(1, 1, (3, 30)))[labels]).astype(np.float32))
    adata.obs["cell_type"] = np.array(["A", "B", "C"])[labels]
    adata.obs["batch"] = np.array(["one", "two"])[rng.integers(2, size=150)]
    adata.obsm["Z"] = (labels[:, None] + rng.normal(0, 0.3, (150, 3))).astype(np.float32)
    return adata


def _models() -> dict[str, object]:
    models = {}
    for name, cls, setup, settings in (
        ("own", mg.MichiGAN, {"batch_key": "batch", "labels_key": "cell_type"}, {"n_latent": 3, **SMALL}),
        ("stored", mg.MichiGAN, {"latent_key": "Z"}, SMALL),
        ("vae", mg.BetaTCVAE, {"batch_key": "batch"}, {"n_latent": 3, "hidden": (16, 8)}),
        ("ppca", mg.model.PPCA, {}, {"n_latent": 3}),
    ):
        adata = _cells()
        cls.setup_anndata(adata, **setup)
        models[name] = cls(adata, **settings)
        models[name].train(**({} if name == "ppca" else FIT))
    adata = _cells()
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    latent_model = scvi.model.SCVI(adata, n_latent=3, n_hidden=16)
    latent_model.train(**FIT)
    models["scvi"] = mg.MichiGAN.from_latent_model(latent_model, **SMALL)
    models["scvi"].train(**FIT)
    return models


def _answers(model) -> dict[str, np.ndarray]:
    cells = model.generate(40, seed=1)
    return {"latent": model.get_latent_representation(), "x": cells.X, "z": cells.obsm["X_michigan"]}


def save(folder: Path) -> None:
    """Save models, what they answer, and their cells."""
    scvi.settings.seed = 0
    for name, model in _models().items():
        model.save(folder / name, save_anndata=True)
        np.savez(folder / f"{name}.npz", **_answers(model))


def compare(folder: Path) -> None:
    """Load models with the cells that were saved, and compare what they answer."""
    files = sorted(folder.glob("*.npz"))
    assert len(files) == 5
    for file in files:
        saved = file.with_suffix("")
        cls = {"vae": mg.BetaTCVAE, "ppca": mg.model.PPCA}.get(saved.name, mg.MichiGAN)
        answers = _answers(cls.load(saved, accelerator="cpu"))
        for name, expected in np.load(file).items():
            # Kernels differ between versions of torch in the last digits of single precision.
            np.testing.assert_allclose(answers[name], expected, rtol=1e-3, atol=1e-4, err_msg=f"{saved} {name}")


def _run_elsewhere(action: str, folder: Path) -> None:
    done = subprocess.run([OTHER_PYTHON, __file__, action, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(OTHER_PYTHON is None, reason="SCMICHIGAN_OTHER_PYTHON names no other environment")
@pytest.mark.filterwarnings("ignore")  # of scvi-tools' model; ours are errors in every other test
def test_models_are_read_by_older_and_newer_versions(tmp_path):
    for writer, reader in (("here", "elsewhere"), ("elsewhere", "here")):
        folder = tmp_path / writer
        folder.mkdir()
        for place, action in ((writer, save), (reader, compare)):
            action(folder) if place == "here" else _run_elsewhere(action.__name__, folder)


if __name__ == "__main__":
    {"save": save, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
