"""Train small models, and save them their cells and what they answer: ``python make.py NAME`` makes ``NAME.zip``.

Run with the code of the version whose files are to be read later on; README.md names it.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scvi
import torch

import scmichigan as mg

N_UNITS = 20
FIT = {"batch_size": 20, "accelerator": "cpu", "enable_progress_bar": False}
NETWORKS = {"generator_hidden": (8,), "critic_hidden": (8, 4)}
GAN = {**NETWORKS, "n_noise": 3}


def cells():
    adata = mg.datasets.screen(60, 20, n_cell_types=2, n_treatments=2, n_batches=2, seed=0)
    types, conditions = (adata.obs[key].cat.codes.to_numpy() for key in ("cell_type", "condition"))
    rng = np.random.default_rng(0)
    adata.obsm["Z"] = (np.column_stack([types, conditions]) + rng.normal(0, 0.3, (60, 2))).astype(np.float32)
    adata.obsm["V"] = rng.uniform(0.01, 0.1, (60, 2)).astype(np.float32)
    return adata


def trained(cls, setup, settings, **fit):
    adata = cells()
    cls.setup_anndata(adata, **setup)
    model = cls(adata, **settings)
    model.train(**fit)
    return model


def on_scvi():
    adata = cells()
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    latent_model = scvi.model.SCVI(adata, n_latent=2, n_hidden=8)
    latent_model.train(2, **FIT)
    model = mg.MichiGAN.from_latent_model(latent_model, **GAN)
    model.train(2, **FIT)
    return model


def models():
    batch = {"batch_key": "batch", "labels_key": "cell_type"}
    stored = {"latent_key": "Z", "latent_var_key": "V", "size_factor_key": "total_counts", **batch}
    return {
        "MichiGAN_own": trained(mg.MichiGAN, {}, {"n_latent": 2, **GAN}, max_epochs=2, **FIT),
        "MichiGAN_stored": trained(mg.MichiGAN, stored, GAN, max_epochs=2, **FIT),
        "MichiGAN_scvi": on_scvi(),
        "BetaTCVAE": trained(mg.BetaTCVAE, batch, {"n_latent": 2, "hidden": (8, 8)}, max_epochs=2, **FIT),
        "PPCA": trained(mg.PPCA, {}, {"n_latent": 2}),
        "GMM": trained(mg.GMM, {}, {"n_components": 2, "n_pcs": 3}),
        "WGANGP": trained(mg.WGANGP, {}, {"n_latent": 4, **NETWORKS}, max_epochs=2, **FIT),
        "InfoWGANGP": trained(mg.InfoWGANGP, {}, {"n_latent": 2, **GAN}, max_epochs=2, **FIT),
    }


def answers(name, model):
    generated = model.generate(10, seed=1)
    found = {"x": generated.X, "z": generated.obsm["X_michigan"]}
    if name != "WGANGP":
        found["latent"] = model.get_latent_representation()
    return found


def _leave_few_weights(model):
    """Zeros in all but a few units of the beta-TCVAE that the GAN has fitted, whose width is fixed: they take no space."""
    with torch.no_grad():
        for weight in model.latent_model.module.parameters():
            weight[N_UNITS:] = 0
            if weight.ndim == 2:
                weight[:, N_UNITS:] = 0


if __name__ == "__main__":
    scvi.settings.seed = 0
    with TemporaryDirectory() as folder:
        cells().write_h5ad(Path(folder) / "cells.h5ad", compression="gzip")
        for name, model in models().items():
            if name == "MichiGAN_own":
                _leave_few_weights(model)
            model.save(Path(folder) / name)
            np.savez(Path(folder) / name / "answers.npz", **answers(name, model))
        shutil.make_archive(sys.argv[1], "zip", folder)
