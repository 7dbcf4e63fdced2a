"""A latent that was stored in obsm."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from scmichigan import _keys
from scmichigan.data import RegisteredCells

from ._encoder import ridge_encoder

Posterior = tuple[np.ndarray, np.ndarray | None]
"""Means and, where there are any, variances of the latents of cells, each of shape ``(n_cells, n_latent)``."""
CellsOf = Callable[[AnnData | None], RegisteredCells]
"""Registered cells of an AnnData that is registered like a model's own; of ``None`` its own."""


def sample_posterior(mean: np.ndarray, var: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One latent from each normal posterior, in single precision."""
    return (mean + np.sqrt(var) * rng.standard_normal(mean.shape)).astype(np.float32)


def posterior_to_sample(latent: Any, latent_sampling: str) -> Posterior:
    """Means and, where cells are to be sampled, variances of the registered cells' latents."""
    # The beta-TCVAE samples even where its posterior is all that is asked for.
    with torch.random.fork_rng():
        mean, var = latent.posterior()
    return mean, var if latent_sampling == "sample" else None


class StoredLatent:
    """Latents that a user has stored in obsm, under a name; other cells need them there, too."""

    model = None

    def __init__(self, name: str, cells_of: CellsOf) -> None:
        self.name = name
        self.cells_of = cells_of
        self.encoder = ridge_encoder(lambda: (cells_of(None), self.posterior()[0]))

    def posterior(self, adata: AnnData | None = None, indices: Sequence[int] | None = None) -> Posterior:
        """Latents of cells as they are stored, of the registered ones without ``adata``."""
        arrays = self.cells_of(adata).arrays((_keys.LATENT_MEAN_TENSOR, _keys.LATENT_VAR_TENSOR))
        rows = slice(None) if indices is None else indices
        var = arrays.get(_keys.LATENT_VAR_TENSOR)
        mean = np.asarray(arrays[_keys.LATENT_MEAN_TENSOR][rows], dtype=np.float32)
        return mean, None if var is None else np.asarray(var[rows], dtype=np.float32)

    def file(self) -> None:
        """Nothing to save beside the cells."""


def lacks_latent(setup_args: dict[str, Any], adata: AnnData) -> bool:
    """Whether latents are to be stored with the cells, and are not; views cannot be written to."""
    key = setup_args.get("latent_key")
    return bool(key) and key not in adata.obsm and not adata.is_view


def check_width(mean: np.ndarray, key: str, adata: AnnData) -> None:
    """Refuse cells that hold another model's latents where those of this one are registered from."""
    width = np.shape(adata.obsm[key])[1:] if key in adata.obsm else mean.shape[1:]
    if width != mean.shape[1:]:
        raise ValueError(
            f"obsm[{key!r}] has {', '.join(map(str, width))} columns, the latent of the saved model {mean.shape[1]}: it is that "
            f"of another model; keep it under another key, and delete it from obsm[{key!r}]"
        )


@contextmanager
def stored(posterior: Posterior, setup_args: dict[str, Any], adata: AnnData) -> Iterator[None]:
    """Store the latents of cells where a model was set up with them; not of cells that are then refused."""
    latents = dict(zip([setup_args["latent_key"], setup_args.get("latent_var_key")], posterior, strict=True))
    latents.pop(None, None)
    adata.obsm.update(latents)
    try:
        yield
    except BaseException:
        for key in latents:
            del adata.obsm[key]
        raise


def cells_with_latent(cells_of: CellsOf, own: RegisteredCells, adata: AnnData | None, latent: Any) -> RegisteredCells:
    """Registered cells of ``adata``; where a latent model can infer latents that are not stored, they are stored first."""
    if adata is None or latent.model is None or not lacks_latent(own.setup_args, adata):
        return cells_of(adata)
    with stored(latent.posterior(adata), own.setup_args, adata):
        return cells_of(adata)


def cells_for_expression(
    cells_of: CellsOf, own: RegisteredCells, adata: AnnData | None, n_latent: int
) -> RegisteredCells:
    """Registered cells of ``adata`` for their expression alone: without stored latents, a copy has some in their place."""
    key, var_key = (own.setup_args.get(name) for name in ("latent_key", "latent_var_key"))
    if adata is not None and key and key not in adata.obsm:
        adata = adata.copy()
        adata.obsm[key] = np.tile(np.arange(adata.n_obs, dtype=np.float32)[:, None], n_latent)
        if var_key:
            adata.obsm[var_key] = np.ones_like(adata.obsm[key])
    return cells_of(adata)
