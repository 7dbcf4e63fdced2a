from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from scmichigan.latents._encoder import ridge_encoder


@pytest.fixture
def encoder():
    """An encoder of these cells and latents, which it asks for once."""

    def make(x, z):
        asked = iter([(SimpleNamespace(expression=lambda: x), z)])
        return ridge_encoder(lambda: next(asked))

    return make


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_latents_that_are_linear_in_the_expression_are_found(encoder, form):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(400, 30)), 0)
    z = x[:, :2] - 3 * x[:, 2:4]
    name, encode = encoder(form(x[:300]), z[:300])
    assert name == "ridge regression"
    found = encode(x[300:])
    assert all(np.corrcoef(z[300:, k], found[:, k])[0, 1] > 0.999 for k in range(2))
    np.testing.assert_allclose(encode(x[300:350]), found[:50])


def test_a_single_latent_is_a_column(encoder):
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert encoder(x, x[:, :1]).encode(x[:7]).shape == (7, 1)
