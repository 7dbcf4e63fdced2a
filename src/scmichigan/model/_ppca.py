"""Probabilistic PCA: the linear latent, and the plainest generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from anndata import AnnData

from scmichigan._compat import finish_init
from scmichigan.closed_form import ProbabilisticPCA, fit_ppca

from ._closed_form import ClosedFormModel, refuse_training_arguments
from ._common import (
    check_latent,
    check_n_latent,
    check_n_samples,
    describe_expression,
    draw_posterior,
    draw_rows,
    generated_anndata,
)


class PPCA(ClosedFormModel):
    r"""Probabilistic PCA of log-normalised expression, in closed form: the linear baseline.

    :math:`x = W z + \mu + \epsilon` with :math:`z \sim N(0, I)` and :math:`\epsilon \sim N(0, \sigma^2 I)`.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Latent dimensions, fewer than cells and than genes.

    Raises
    ------
    ValueError
        If ``n_latent`` is below 1.

    Notes
    -----
    The noise is its limit: it is the same for all genes, whether they vary or not, and independent of the mean.
    Generated cells have the means of the real ones and their leading covariances, but not the variance of each
    gene, nor its zeros, and they may be negative.

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
        self.n_latent = n_latent
        finish_init(self, locals(), f"Probabilistic PCA with n_latent: {n_latent}, on {describe_expression(self)}")

    def train(self, *, seed: int = 0, **training_kwargs) -> None:
        """Fit by maximum likelihood, in closed form.

        Parameters
        ----------
        seed
            Start of the eigenvalue solver; the result depends on it by rounding only.
        **training_kwargs
            Refused: there are no epochs in a closed form.

        Raises
        ------
        ValueError
            If there are not more cells and genes than latent dimensions, all cells are the same, or further
            arguments are given.
        """
        refuse_training_arguments(self, training_kwargs)
        self._keep(fit_ppca(self.get_normalized_expression(), self.n_latent, seed=seed)._asdict())

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Posterior of the latents, see :meth:`~scmichigan.closed_form.ProbabilisticPCA.posterior`.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones.
        indices
            Cells to return, all by default.
        return_dist
            Also return the posterior variances.

        Returns
        -------
        Posterior means, shape ``(n_cells, n_latent)``, and the variances where asked for.
        """
        fit = ProbabilisticPCA(**self._fitted())
        mean, var = (a.astype(np.float32) for a in fit.posterior(self._rows_of_expression(adata, indices)))
        return (mean, var) if return_dist else mean

    def generate(
        self,
        n_samples: int = 1000,
        *,
        where: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        seed: int = 0,
    ) -> AnnData:
        """Sample cells, with the noise of the model.

        Parameters
        ----------
        n_samples
            Cells to generate from the prior. Not used with ``latent``.
        where
            Draw the latents from the posteriors of the registered cells with these labels instead, for example
            ``{"cell_type": "B cells"}``; ``{}`` takes all cells.
        latent
            Generate one cell from each of these latents instead, shape ``(n_samples, n_latent)``.
        seed
            Of all draws.

        Returns
        -------
        AnnData with log-normalised expression in X, latents in ``obsm["X_michigan"]``, provenance in
        ``uns["michigan"]``; with ``where``, labels and names of the source cells in obs.

        Raises
        ------
        RuntimeError
            If the model is untrained.
        KeyError, ValueError
            If ``where`` selects no cell or is given with ``latent``, or ``latent`` has another width than the model's
            or is not finite.
        """
        fit = ProbabilisticPCA(**self._fitted())
        rng = np.random.default_rng(seed)
        rows = None
        if latent is not None:
            if where is not None:
                raise ValueError("where and latent were both given; the cells are made from one of them, leave one out")
            source, z = "given", check_latent(latent, self.n_latent)
        elif where is not None:
            rows = draw_rows(self.adata, n_samples, where, rng)
            source, z = "posterior", draw_posterior(*self.get_latent_representation(None, rows, return_dist=True), rng)
        else:
            check_n_samples(n_samples)
            source, z = "prior", rng.standard_normal((n_samples, self.n_latent), dtype=np.float32)
        provenance = {"model": "PPCA", "latent": source, "seed": seed}
        return generated_anndata(
            self.adata, fit.sample(z, rng), self.registry["setup_args"], rows=rows, latent=z, provenance=provenance
        )
