"""Encoders of log-normalised expression, for latent recovery."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scvi.model.base import BaseModelClass
from sklearn.linear_model import RidgeCV

from scmichigan._arrays import dense
from scmichigan.data import RegisteredCells

_N_CELLS = 3000
_RIDGES = np.logspace(0, 4, 9)


class Encoder(NamedTuple):
    """What gives latents of dense log-normalised expression, shape ``(n_cells, n_latent)``."""

    name: str
    encode: Callable[[np.ndarray], np.ndarray]


def model_encoder(model: BaseModelClass) -> Encoder:
    """The encoder of a beta-TCVAE."""
    return Encoder("beta-TCVAE", model.encode_expression)


def ridge_encoder(registered: Callable[[], tuple[RegisteredCells, np.ndarray]]) -> Encoder:
    """Ridge regression of latents on expression, fitted once to registered cells with their latents, 3,000 at most."""

    @cache
    def fitted() -> RidgeCV:
        cells, mean_nk = registered()
        x = cells.expression()
        rows = np.random.default_rng(0).permutation(x.shape[0])[:_N_CELLS]
        # One ridge for all would be that of the latent with the largest unit.
        return RidgeCV(_RIDGES, alpha_per_target=True).fit(dense(x[rows]), mean_nk[rows])

    # A ridge of one latent predicts no columns.
    return Encoder("ridge regression", lambda x: fitted().predict(x).reshape(len(x), -1))
