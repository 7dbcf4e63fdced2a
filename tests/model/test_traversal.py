"""Walks along one latent dimension at a time."""

import numpy as np
import pytest
import torch
from anndata import read_h5ad

import scmichigan as mg

START = {"max_epochs": 0}


def _by_walk(cells, values):
    """Values as (dimension, walk, step, ...)."""
    shape = [cells.obs[key].max() for key in ("dimension", "walk", "step")]
    return np.asarray(values).reshape(*shape, -1)


def test_one_latent_changes_and_the_others_are_those_of_a_cell(stored, make_gan):
    cells = make_gan(stored, latent_key="Z", fit=START).traverse({"cell_type": "type B"}, n_steps=4, n_walks=5)
    assert cells.shape == (3 * 5 * 4, 40)
    source = stored.obs.loc[cells.obs["michigan_source"]]
    assert (source["cell_type"] == "type B").all()
    assert cells.obs["michigan_source"].nunique() == 5
    z_source = stored[cells.obs["michigan_source"]].obsm["Z"]
    low, high = np.quantile(stored.obsm["Z"], [0.01, 0.99], axis=0)
    latents = _by_walk(cells, cells.obsm["X_michigan"])
    sources = _by_walk(cells, z_source)
    for k in range(3):
        others = np.arange(3) != k
        np.testing.assert_array_equal(latents[k][..., others], sources[k][..., others])
        np.testing.assert_allclose(latents[k][..., k], np.tile(np.linspace(low[k], high[k], 4), (5, 1)), rtol=1e-5)
        np.testing.assert_array_equal(_by_walk(cells, cells.obs["value"])[k][..., 0], latents[k][..., k])


@pytest.mark.parametrize("makes_counts", [True, False])
def test_a_latent_that_does_not_vary_changes_nothing(stored, make_gan, request, makes_counts):
    if not makes_counts:
        request.getfixturevalue("logged")  # the same cells, logged in place
    stored.obsm["Z"][:, 2] = 1
    cells = make_gan(stored, latent_key="Z", fit=START).traverse(n_steps=3, n_walks=4)
    assert ("counts" in cells.layers) == makes_counts
    x = _by_walk(cells, cells.X)
    np.testing.assert_array_equal(x[2], np.repeat(x[2][:, :1], 3, axis=1))  # noise and totals are those of the walk
    assert (x[0][:, 0] != x[0][:, -1]).any()
    assert (x[2][0] != x[2][1]).any()


def test_counts_rise_with_their_rates(stored, make_gan):
    model = make_gan(stored, latent_key="Z", size_factor_key="total_counts", fit=START)
    cells = model.traverse(n_steps=6, n_walks=300)
    totals = stored.obs.loc[cells.obs["michigan_source"], "total_counts"].to_numpy()
    np.testing.assert_array_equal(cells.obs["total_counts"], totals)
    rng = np.random.default_rng(0)
    rng.choice(240, 60, replace=False)
    noise = torch.from_numpy(rng.standard_normal((300, 5), dtype=np.float32))[cells.obs["walk"].to_numpy() - 1]
    rates = model.module.sample(torch.from_numpy(cells.obsm["X_michigan"]), noise).numpy() * totals[:, None] / 1e4
    counts = cells.layers["counts"].toarray()
    # Of all steps of a walk, the one of a higher rate has never fewer counts.
    rate_of, count_of = _by_walk(cells, rates), _by_walk(cells, counts)
    order = np.argsort(rate_of, axis=2, kind="stable")
    assert (np.diff(np.take_along_axis(count_of, order, axis=2), axis=2) >= 0).all()
    # Means of Poisson counts, at each step and gene over 300 walks: five standard errors.
    difference = count_of.mean(axis=1) - rate_of.mean(axis=1)
    assert (np.abs(difference) <= 5 * np.sqrt(rate_of.mean(axis=1) / 300) + 1e-6).all()


def test_walks_from_one_cell(stored, make_gan, tmp_path):
    cells = make_gan(stored, latent_key="Z", latent_var_key="V", fit=START).traverse(
        cell="cell_7", n_steps=2, n_walks=3
    )
    assert (cells.obs["michigan_source"] == "cell_7").all()
    assert cells.uns["michigan"] == {"model": "MichiGAN", "latent": "Z", "start": "cell_7", "seed": 0}
    x = _by_walk(cells, cells.X)
    assert (x[0][0] != x[0][1]).any()  # each walk has noise of its own
    cells.write_h5ad(tmp_path / "walk.h5ad")
    np.testing.assert_array_equal(read_h5ad(tmp_path / "walk.h5ad").obs["dimension"], cells.obs["dimension"])


@pytest.mark.parametrize("name", ["CWGANGP", "SemiSupervisedInfoWGANGP"])
def test_other_gans_that_know_latents(stored, small, name):
    cls = getattr(mg, name)
    cls.setup_anndata(stored, latent_key="Z")
    model = cls(stored, **small.gan)
    model.train(**small.gan_fit)
    first, again = (model.traverse(n_steps=3, n_walks=2, seed=1) for _ in range(2))
    assert first.n_obs == 3 * 2 * 3
    np.testing.assert_array_equal(first.X, again.X)


def test_bad_starts(stored, make_gan):
    with pytest.raises(RuntimeError, match="untrained"):
        make_gan(stored, latent_key="Z", train=False).traverse()
    model = make_gan(stored, latent_key="Z", fit=START)
    with pytest.raises(KeyError, match="cell is 'B cells', but no cell is named so, the first is 'cell_0'"):
        model.traverse(cell="B cells")
    with pytest.raises(ValueError, match="labels and cell are given, .*leave one of them out"):
        model.traverse({"cell_type": "type B"}, cell="cell_0")
    with pytest.raises(ValueError, match="labels is 'cell_0'; give one label for each obs key"):
        model.traverse("cell_0")
    with pytest.raises(ValueError, match=r"no cell has obs\['cell_type'\] == 'type Q'"):
        model.traverse({"cell_type": "type Q"})
    with pytest.raises(ValueError, match="labels is .*give one label for each obs key"):
        model.traverse({"cell_type": ["type B"]})
    with pytest.raises(ValueError, match="n_steps is 1: give 2 or more"):
        model.traverse(n_steps=1)
    with pytest.raises(ValueError, match="n_walks is 0: give 1 or more"):
        model.traverse(n_walks=0)
