"""No latent of cells: what is generated comes from a prior."""

from collections.abc import Callable, Sequence

import numpy as np
from anndata import AnnData

from ._encoder import ridge_encoder
from ._stored import CellsOf, Posterior


class PriorLatent:
    """The standard normal prior of a GAN, whose name is for errors; codes of cells where its critic can ``infer`` them."""

    model = None

    def __init__(self, of: str, cells_of: CellsOf, infer: Callable[..., np.ndarray] | None = None) -> None:
        self.of = of
        self.cells_of = cells_of
        self.infer = infer
        self.encoder = ridge_encoder(lambda: (cells_of(None), self.posterior()[0]))

    @property
    def name(self) -> str:
        """Where the latents of cells come from; an error where there are none."""
        if self.infer is None:
            raise ValueError(f"{self.of} knows no latents of cells; leave labels out, or take MichiGAN")
        return "inferred codes"

    def posterior(self, adata: AnnData | None = None, indices: Sequence[int] | None = None) -> Posterior:
        """Codes of cells, with a variance of 1."""
        if self.infer is None:
            raise ValueError(f"{self.of} generates cells from a prior and knows no latents of cells; take MichiGAN")
        cells = self.cells_of(adata)
        mean = self.infer(cells, np.arange(cells.n_cells) if indices is None else np.asarray(indices))
        return mean, np.ones_like(mean)

    def file(self) -> None:
        """Nothing to save beside the cells."""
