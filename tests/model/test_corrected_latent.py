"""A latent that holds no batch, and a generator that adds the one asked for.

Legend: n cells, k latents.
"""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from scmichigan import MichiGAN, _keys, datasets

N_NEIGHBORS = 20


def _latent(adata):
    """Type and pseudotime of each cell, with noise of its own: what a correction that worked leaves."""
    types = np.eye(3)[adata.obs["cell_type"].cat.codes]
    phase = np.pi * adata.obs["pseudotime"].to_numpy()[:, None]
    z_nk = np.hstack([types, np.cos(phase), np.sin(phase)])
    return (z_nk + np.random.default_rng(0).normal(0, 0.1, z_nk.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def cells():
    """Seen and unseen cells of two batches; types, treatments and batches are independent of each other."""
    adata = datasets.screen(2000, 100, n_treatments=1, n_batches=2, seed=0)
    adata.obsm["Z"] = _latent(adata)
    return adata[:1200].copy(), adata[1200:].copy()


@pytest.fixture(scope="module")
def model(cells):
    MichiGAN.setup_anndata(cells[0], batch_key="batch", latent_key="Z")
    model = MichiGAN(cells[0], generator_hidden=(8,), critic_hidden=(8, 4))
    model.train(max_epochs=0)
    return model


@pytest.fixture(scope="module")
def rendered(model):
    """Latents of cells of both batches, rendered in either."""
    z = model.generate(800, seed=0).obsm[_keys.LATENT]
    return {
        batch: model.generate(latent=z, labels={"batch": batch}, seed=0)
        for batch in model.adata.obs["batch"].cat.categories
    }


def test_cells_say_what_they_were_rendered_with(rendered):
    for batch, cells in rendered.items():
        assert set(cells.obs["batch"]) == {batch}


def _excess(z_nk, batches):
    """Share of nearest neighbours that are of the same batch, less that of cells drawn at random; and its standard error."""
    codes = (np.asarray(batches) == "batch 1").astype(int)
    rows = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(z_nk).kneighbors(return_distance=False)
    sizes = np.bincount(codes)
    chance = (sizes * (sizes - 1)).sum() / (len(codes) * (len(codes) - 1))
    # Each pair is there at most twice: as if half of them were independent.
    return (codes[rows] == codes[:, None]).mean() - chance, np.sqrt(chance * (1 - chance) / (rows.size / 2))


def test_batches_mix_in_the_latent_as_chance_has_it(cells):
    excess, error = _excess(cells[0].obsm["Z"], cells[0].obs["batch"])
    assert abs(excess) < 5 * error


def test_batches_mix_in_the_latents_found_in_generated_cells(model, cells, rendered):
    """As they do in those found in real cells: the asked-for batch is in the cells, and not in what they are made from."""
    x = np.concatenate([made.X for made in rendered.values()])
    made, error = _excess(model.latent.encoder.encode(x), np.repeat(list(rendered), 800))
    of_unseen = model.latent.encoder.encode(model.get_observed_expression(cells[1]).toarray())
    real, error_of_real = _excess(of_unseen, cells[1].obs["batch"])
    assert made < max(real, 0) + 5 * np.hypot(error, error_of_real)


def test_a_classifier_of_real_cells_recognises_the_batch_asked_for(model, cells, rendered):
    seen, unseen = cells
    x = model.get_observed_expression().toarray()
    classifier = LogisticRegression(max_iter=500).fit(x, seen.obs["batch"])
    of_real = classifier.score(model.get_observed_expression(unseen).toarray(), unseen.obs["batch"])
    assert of_real > 0.9
    for batch, made in rendered.items():
        recognised = np.mean(classifier.predict(made.X) == batch)
        # As often as unseen real cells, within the sampling errors of both shares.
        bound = 5 * np.sqrt(of_real * (1 - of_real) * (1 / made.n_obs + 1 / unseen.n_obs))
        assert recognised > of_real - bound
    # by chance it would be half of them, and not in either batch
    assert binom.sf(recognised * 800, 800, 0.5) < 1e-6


def test_without_the_batch_it_is_not_there(cells):
    """The same latents with a generator that is given no batch: what the asked-for one is cannot be seen."""
    adata = cells[0].copy()
    MichiGAN.setup_anndata(adata, latent_key="Z")
    model = MichiGAN(adata, generator_hidden=(8,), critic_hidden=(8, 4))
    model.train(max_epochs=0)
    classifier = LogisticRegression(max_iter=500).fit(model.get_observed_expression().toarray(), adata.obs["batch"])
    recognised = [
        np.mean(classifier.predict(model.generate(800, labels={"batch": batch}, seed=seed).X) == batch)
        for seed, batch in enumerate(adata.obs["batch"].cat.categories)
    ]
    # Cells that are told apart by chance are right in half of the cases of the two batches together.
    assert abs(np.mean(recognised) - 0.5) < 5 * np.sqrt(0.25 / 1600)


def test_what_is_no_batch_stays(model, cells, rendered):
    """Cells of one latent in two batches are of one type, as often as real cells are recognised."""
    seen, unseen = cells
    first, second = rendered.values()
    x, y = (model.get_observed_expression(a).toarray() for a in (seen, unseen))
    classifier = LogisticRegression(max_iter=500).fit(x, seen.obs["cell_type"])
    of_real = classifier.score(y, unseen.obs["cell_type"])
    agree = np.mean(classifier.predict(first.X) == classifier.predict(second.X))
    # Two independent guesses at the type agree at least where both are right.
    expected = of_real**2
    assert agree > expected - 5 * np.sqrt(expected * (1 - expected) * (1 / 800 + 1 / unseen.n_obs) + 1e-6)
