"""Probabilistic PCA: the linear latent, and the plainest generator."""

from collections.abc import Sequence

import numpy as np
from anndata import AnnData

from scmichigan._checks import check_latent, check_n_latent, check_n_samples
from scmichigan._compat import finish_init
from scmichigan.closed_form import ProbabilisticPCA, fit_ppca
from scmichigan.data import RegisteredCells
from scmichigan.latents import sample_posterior
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


@refuses(*OF_VAES)
class PPCA(CellModel):
    r"""Probabilistic PCA of log-normalised expression, in closed form: the linear baseline.

    :math:`x = W z + \mu + \epsilon` with :math:`z \sim N(0, I)` and :math:`\epsilon \sim N(0, \sigma^2 I)`.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Latent dimensions, fewer than cells and than genes.

    Notes
    -----
    The noise is the same for all genes. Generated cells have the means and the leading covariances of the real ones, but not
    the variance of each gene, nor its zeros, and they may be negative.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis".

    Examples
    --------
    >>> mg.PPCA.setup_anndata(adata, size_factor_key="total_counts")
    >>> model = mg.PPCA(adata, n_latent=10)
    >>> model.train()
    >>> adata.obsm["X_ppca"], adata.obsm["X_ppca_var"] = model.get_latent_representation(return_dist=True)
    """

    def __init__(self, adata: AnnData, n_latent: int = 10) -> None:
        check_n_latent(n_latent)
        super().__init__(adata)
        cells = RegisteredCells(self.adata_manager)
        self.n_latent = n_latent
        self.module = FittedModule(CellFormat(**cells.format()))
        finish_init(self, locals(), f"Probabilistic PCA with n_latent: {n_latent}, on {cells.describe()}")

    setup_anndata = classmethod(setup_plain)

    def train(self, *, seed: int = 0, **training_kwargs) -> None:
        """Fit by maximum likelihood, in closed form.

        Further arguments are refused. The result depends on the random seed, the start of a solver, by rounding only.

        Raises
        ------
        ValueError
            If there are not more cells and genes than latent dimensions, all cells are the same, or further arguments are
            given.
        """
        refuse_training_arguments(self, training_kwargs)
        keep_arrays(self, fit_ppca(self.cells.expression(), self.n_latent, seed=seed)._asdict())

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Posterior of the latents, see :meth:`~scmichigan.closed_form.ProbabilisticPCA.posterior`.

        Arguments as in :meth:`MichiGAN.get_latent_representation`.

        Returns
        -------
        Posterior means, shape ``(n_cells, n_latent)``, and the variances where asked for.
        """
        fit = ProbabilisticPCA(**fitted_arrays(self))
        mean, var = (a.astype(np.float32) for a in fit.posterior(expression_rows(self, adata, indices)))
        return (mean, var) if return_dist else mean

    def generate(
        self,
        n_samples: int = 1000,
        *,
        labels: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Sample cells, with the noise of the model.

        Latents are sampled from the prior; with ``labels``, from the posteriors of the registered cells that have them.
        Arguments, result and errors are those of :meth:`MichiGAN.generate`; only one of ``labels`` and ``latent`` can be given.
        """
        fit = ProbabilisticPCA(**fitted_arrays(self))
        rng = np.random.default_rng(seed)
        rows = None
        if latent is not None:
            if labels is not None:
                raise ValueError(
                    "labels and latent were both given; the cells are made from one of them, leave one out"
                )
            source, z = "given", check_latent(latent, self.n_latent)
        elif labels is not None:
            rows = self.cells.sample_rows(n_samples, labels, rng)
            source, z = (
                "posterior",
                sample_posterior(*self.get_latent_representation(None, rows, return_dist=True), rng),
            )
        else:
            check_n_samples(n_samples)
            source, z = "prior", rng.standard_normal((n_samples, self.n_latent), dtype=np.float32)
        provenance = {"model": "PPCA", "latent": source, "seed": seed}
        return self.cells.generated(fit.sample(z, rng), rows=rows, latent=z, provenance=provenance)
