"""Gaussian mixture: the baseline that knows clusters.

Legend: n cells, g genes, d dimensions of the mixture, c components of the mixture.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from scmichigan._checks import check_at_least
from scmichigan._compat import finish_init
from scmichigan.closed_form import fit_gaussian_mixture, mixture_responsibilities, sample_mixture
from scmichigan.data import RegisteredCells
from scmichigan.module import CellFormat, FittedModule

from ._model import (
    OF_VAES,
    CellModel,
    expression_rows,
    fitted_arrays,
    keep_arrays,
    refuse_training_arguments,
    refuses,
)
from ._setups import setup_plain

CovarianceType = Literal["full", "diag"]

_N_COMPONENTS = (1, 2, 4, 8, 16, 32)
_MIN_CELLS_PER_COMPONENT = 10


@refuses(*OF_VAES)
class GMM(CellModel):
    """Gaussian mixture of log-normalised expression: the baseline that knows clusters.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_components
        Components of the mixture, or several numbers to choose from; ``None`` for 1, 2, 4, 8, 16 and 32, as far as
        there are ten cells for each component.
    covariance_type
        ``"full"`` or ``"diag"``, as in :class:`sklearn.mixture.GaussianMixture`. ``None`` chooses between them on
        principal components, and is ``"diag"`` on genes, where a full covariance has too many entries.
    n_pcs
        Principal components that the mixture is fitted to, lowered to the number of cells or genes where there are
        fewer; ``None`` fits it to the genes themselves, which makes a dense copy in double precision of all cells.

    Notes
    -----
    Number and type are those with the lowest Bayesian information criterion (BIC); all of them are in :attr:`bic`. Cells
    made of principal components alone would be too smooth. They get Gaussian noise on top, independent between genes, with
    the variance of each gene that the components leave out. Generated expression may be negative.

    Examples
    --------
    >>> mg.GMM.setup_anndata(adata, labels_key="cell_type", size_factor_key="total_counts")
    >>> model = mg.GMM(adata)
    >>> model.train()
    >>> cells = model.generate(1000, labels={"cell_type": "B cells"})
    """

    def __init__(
        self,
        adata: AnnData,
        n_components: int | Sequence[int] | None = None,
        *,
        covariance_type: CovarianceType | None = None,
        n_pcs: int | None = 50,
    ) -> None:
        if covariance_type not in ("full", "diag", None):
            raise ValueError(f"covariance_type is {covariance_type!r}; choose 'full', 'diag' or None to have it chosen")
        if n_pcs is not None:
            check_at_least(1, n_pcs=n_pcs)
        super().__init__(adata)
        cells = RegisteredCells(self.adata_manager)
        self.module = FittedModule(CellFormat(**cells.format()))
        self.n_components = _sizes(n_components)
        self.covariance_type = covariance_type
        self.n_pcs = n_pcs
        # The underscore has scvi-tools save it; files hold no frames.
        self.bic_: dict[str, Any] | None = None
        is_given = self.n_components is not None and len(self.n_components) == 1
        number = self.n_components[0] if is_given else "chosen by BIC"
        space = "genes" if n_pcs is None else f"up to {n_pcs} principal components"
        finish_init(self, locals(), f"Gaussian mixture with n_components: {number}, of {space}, on {cells.describe()}")

    setup_anndata = classmethod(setup_plain)

    @property
    def bic(self) -> pd.DataFrame | None:
        """BIC of every number of components (rows) and type of covariance (columns), lowest best; ``None`` untrained.

        Comparable only within one table: it is that of the principal components where the mixture is fitted to them.
        """
        return None if self.bic_ is None else pd.DataFrame.from_dict(self.bic_, orient="tight")

    def train(self, *, seed: int = 0, enable_progress_bar: bool = True, **training_kwargs) -> None:
        """Fit every candidate by expectation maximisation, and keep the one with the lowest BIC.

        Further arguments are refused: there are no epochs and minibatches here.

        Raises
        ------
        ValueError
            If there are fewer cells than components, all cells are the same, or further arguments are given.
        """
        refuse_training_arguments(self, training_kwargs)
        sizes, types = self._candidates()
        arrays, bic = fit_gaussian_mixture(
            self.cells.expression(),
            sizes,
            types,
            n_pcs=self.n_pcs,
            seed=seed,
            enable_progress_bar=enable_progress_bar,
        )
        self.bic_ = bic.to_dict("tight")
        keep_arrays(self, arrays)

    def _candidates(self) -> tuple[list[int], list[CovarianceType]]:
        """Numbers of components and types of covariance to choose from."""
        n_cells = self.adata.n_obs
        types = ["full", "diag"] if self.n_pcs is not None else ["diag"]
        if self.covariance_type is not None:
            types = [self.covariance_type]
        if self.n_components is None:
            return [size for size in _N_COMPONENTS if size == 1 or size * _MIN_CELLS_PER_COMPONENT <= n_cells], types
        if max(self.n_components) > n_cells:
            raise ValueError(f"n_components is {max(self.n_components)}, there are {n_cells} cells; ask for fewer")
        return self.n_components, types

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Probability of each component given the cell: the posterior mean of the mixture's latent, which is one-hot.

        Arguments as in :meth:`MichiGAN.get_latent_representation`.

        Returns
        -------
        Probabilities p, shape ``(n_cells, n_components)``, and their variances p (1 - p) where asked for.
        """
        p_nc = mixture_responsibilities(expression_rows(self, adata, indices), fitted_arrays(self)).astype(np.float32)
        return (p_nc, p_nc * (1 - p_nc)) if return_dist else p_nc

    def generate(self, n_samples: int = 1000, *, labels: dict[str, str] | None = None, seed: int = 0) -> AnnData:
        """Sample cells: a component of a registered cell, by its probabilities, and a cell of that component.

        Arguments and errors as in :meth:`MichiGAN.generate`.

        Returns
        -------
        AnnData with log-normalised expression in X, components (one-hot) in ``obsm["X_michigan"]``, labels and names
        of the source cells in obs, provenance in ``uns["michigan"]``.
        """
        fitted = fitted_arrays(self)
        rng = np.random.default_rng(seed)
        rows = self.cells.sample_rows(n_samples, labels, rng)
        one_hot_nc = rng.multinomial(1, mixture_responsibilities(expression_rows(self, None, rows), fitted))
        x = sample_mixture(fitted, one_hot_nc.argmax(axis=1), rng)
        space = "genes" if self.n_pcs is None else "principal components"
        provenance = {"model": "GMM", "n_components": one_hot_nc.shape[1], "space": space, "seed": seed}
        return self.cells.generated(x, rows=rows, latent=one_hot_nc, provenance=provenance)


def _sizes(n_components: int | Sequence[int] | None) -> list[int] | None:
    if n_components is None:
        return None
    sizes = sorted({n_components} if np.isscalar(n_components) else set(n_components))
    if not sizes:
        raise ValueError("n_components is empty; give at least one number, or None for the default ones")
    check_at_least(1, n_components=min(sizes))
    return sizes
