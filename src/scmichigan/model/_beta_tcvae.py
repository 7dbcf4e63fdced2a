"""The disentangled representation."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model.base import VAEMixin

from scmichigan import data
from scmichigan._arrays import in_chunks
from scmichigan._checks import check_choice, check_latent, check_n_latent, check_trained, check_weight
from scmichigan._compat import finish_init, setup_method_args
from scmichigan.latents import sample_posterior
from scmichigan.module import BetaTCVAEModule, CellFormat, CountTCVAEModule

from ._decoded import decoded_expression
from ._model import CellModel
from ._train_beta_tcvae import train


class BetaTCVAE(CellModel, VAEMixin):
    """Variational autoencoder with a penalty on the total correlation of its latent.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Latent dimensions.
    beta
        Weight of the total correlation; 0 is the VAE. The paper uses 10 to 100 and suggests 10 to 50.
    gene_likelihood
        ``"normal"`` is the paper's, of log-normalised expression with variance 1. ``"nb"`` (negative binomial), ``"zinb"``
        (with more zeros) and ``"poisson"`` are of raw counts, on scvi-tools' encoder and decoder.
    **module_kwargs
        Further arguments of :class:`~scmichigan.module.BetaTCVAEModule` or, for a likelihood of counts, of
        :class:`~scmichigan.module.CountTCVAEModule`.

    Notes
    -----
    ``history`` holds, per epoch, ``reconstruction_loss_train`` and the three parts of the KL divergence
    (``mutual_information_train``, ``total_correlation_train``, ``dimension_wise_kl_train``), in nats per cell.

    References
    ----------
    Chen et al. 2018; Yu and Welch 2021, Methods.

    Examples
    --------
    >>> mg.BetaTCVAE.setup_anndata(adata, size_factor_key="total_counts")
    >>> latent = mg.BetaTCVAE(adata, beta=10.0)
    >>> latent.train()
    >>> mean, var = latent.get_latent_representation(return_dist=True)
    """

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        gene_likelihood: Literal["normal", "nb", "zinb", "poisson"] = "normal",
        **module_kwargs,
    ) -> None:
        check_n_latent(n_latent)
        check_weight("beta", beta, "the total correlation must be 0 (the VAE)")
        check_weight("kl_weight", module_kwargs.get("kl_weight", 1.0), "the KL divergence must be 0")
        check_choice("gene_likelihood", gene_likelihood, ("normal", "nb", "zinb", "poisson"))
        super().__init__(adata)
        cells = data.RegisteredCells(self.adata_manager)
        own = {}
        if gene_likelihood != "normal":
            _check_counts(cells, gene_likelihood)
            own["gene_likelihood"] = gene_likelihood
        self.module = (CountTCVAEModule if own else BetaTCVAEModule)(
            cells.n_features, cells=CellFormat(**cells.format()), n_latent=n_latent, beta=beta, **own, **module_kwargs
        )
        self.module.inputs.set_unit(*cells.numbers_unit())
        finish_init(
            self,
            locals(),
            f"beta-TCVAE with n_latent: {n_latent}, beta: {beta}, gene_likelihood: {gene_likelihood}, "
            f"on {cells.describe()}",
        )

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        protein_expression_obsm_key: str | None = None,
        expression: Literal["auto", "counts", "log_normalized"] = "auto",
        target_sum: float = 1e4,
        **kwargs,
    ) -> None:
        """Register the cells.

        Parameters
        ----------
        adata
            Cells x genes.
        layer
            Layer with the expression; ``None`` for ``adata.X``.
        batch_key, labels_key
            Columns of ``adata.obs`` with batches (given to the decoder) and labels (copied to generated cells).
        size_factor_key
            Column of ``adata.obs`` with the total counts of each cell. Without it, the sum over the registered genes;
            store the total before selecting genes. Not used for log-normalised expression.
        categorical_covariate_keys, continuous_covariate_keys
            Further columns given to the decoder.
        protein_expression_obsm_key
            Key of ``adata.obsm`` with protein counts, which are modelled beside the genes. Their size factor is their sum.
        expression
            ``"counts"`` are normalised to ``log1p(target_sum * counts / total)`` on the fly, ``"log_normalized"``
            values are taken as they are, ``"auto"`` takes integers for counts. ``model`` prints which it took.
        target_sum
            Total that counts are scaled to.
        **kwargs
            Passed to scvi-tools' registration.

        Raises
        ------
        KeyError
            If a column or layer does not exist.
        ValueError
            If the expression is NaN, infinite, negative, empty or not what was declared, a size factor is no total, or a
            label or covariate is missing.
        """
        expression = data.checked_expression(adata, layer, expression, target_sum)
        setup_args = setup_method_args(locals())
        fields = [
            data.ExpressionField(layer, expression),
            data.CategoryField(REGISTRY_KEYS.BATCH_KEY, batch_key),
            data.CategoryField(REGISTRY_KEYS.LABELS_KEY, labels_key, may_be_new=True),
            data.CategoryCovariatesField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
            data.NumberCovariatesField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
            *data.size_factor_fields(adata.obs, size_factor_key, layer, expression, target_sum),
            *data.protein_fields(protein_expression_obsm_key, layer, expression),
        ]
        data.check_setup_arguments(cls.__name__, setup_args, kwargs)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        rna_layer: str | None = None,
        protein_layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        target_sum: float = 1e4,
        modalities: dict[str, str] | None = None,
        **kwargs,
    ) -> None:
        """Register cells whose RNA and proteins were both counted.

        Parameters
        ----------
        mdata
            The same cells in each of its modalities, in the same order.
        rna_layer, protein_layer
            Layer with the counts of the modality; ``None`` for its ``X``. Other arguments are those of
            :meth:`setup_anndata`; the size factor is that of the RNA, and proteins are scaled by their sum.
        modalities
            The modality of each argument, such as ``{"rna_layer": "rna", "protein_layer": "protein", "batch_key": "rna"}``.
            Without ``"protein_layer"`` there is RNA only; columns of an argument without one are those of ``mdata.obs``.

        Raises
        ------
        KeyError
            If a modality, column or layer does not exist.
        ValueError
            As in :meth:`setup_anndata`, and if the modalities have other cells or hold no counts.

        Examples
        --------
        >>> mg.BetaTCVAE.setup_mudata(mdata, modalities={"rna_layer": "rna", "protein_layer": "protein"})
        """
        setup_args = setup_method_args(locals())
        data.check_scale("counts", target_sum)
        fields = data.Modalities(mdata, modalities, setup_args["setup_args"]).fields()
        data.check_setup_arguments(cls.__name__, setup_args, kwargs)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_args)
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)

    train = train

    @torch.inference_mode()
    def generate(
        self,
        n_samples: int = 1000,
        *,
        labels: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        noise: bool = False,
        seed: int = 0,
    ) -> AnnData | MuData:
        """Generate cells by decoding latents, sampled from the posteriors of the registered cells or given.

        Arguments and errors that are not listed here are those of :meth:`MichiGAN.generate`.

        Parameters
        ----------
        noise
            Sample from the likelihood instead of taking its mean; which one was done is in ``uns``. The mean is too smooth for
            real cells, and a sample of a normal likelihood, N(mean, 1), too noisy.

        Returns
        -------
        As from :meth:`MichiGAN.generate`. The mean of a likelihood of counts is the expected counts, log-normalised like the
        registered ones; its samples are of the totals of the source cells, and are also in ``layers["counts"]``.
        """
        check_trained(self)
        rng, cells = np.random.default_rng(seed), self.cells
        given = None if latent is None else check_latent(latent, self.module.n_latent)
        rows = cells.sample_rows(n_samples if given is None else len(given), labels, rng)
        inputs = [torch.from_numpy(cells.covariates(rows))]
        totals = cells.totals()[rows] if self.module.makes_counts else None
        if totals is not None:
            inputs.append(torch.from_numpy(totals).float())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            z = given
            if z is None:
                z = sample_posterior(*self.get_latent_representation(indices=rows, return_dist=True), rng)
            chunks = ([torch.as_tensor(z[c]), *(a[c] for a in inputs)] for c in in_chunks(len(z)))
            x = torch.cat([self.module.sample(*chunk, noise=noise) for chunk in chunks]).cpu().numpy()
        if totals is not None and not noise:
            # Expected counts are no counts: only their logarithms are kept.
            x, totals = cells.log_normalize(x, totals)[0], None
        provenance = {"model": "BetaTCVAE", "noise": noise, "seed": seed}
        source = {"rows": rows} if given is None else {"rows": None, "covariates_of": rows}
        return cells.as_registered(cells.generated(x, totals, latent=z, provenance=provenance, **source))

    def encode_expression(self, x: np.ndarray) -> np.ndarray:
        """Posterior means of the latents of log-normalised expression.

        Of dense expression as :meth:`get_observed_expression` gives it, genes and proteins side by side, shape
        ``(n_cells, n_features)``, they have the shape ``(n_cells, n_latent)``.
        """
        with torch.inference_mode(), torch.random.fork_rng():
            parts = [self.module.inference(torch.from_numpy(x[c]))["qz"].loc.cpu().numpy() for c in in_chunks(len(x))]
        return np.concatenate(parts)

    get_normalized_expression = decoded_expression

    def _decode(self, z: np.ndarray, covariates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Mean of the likelihood for cells of the target sum."""
        inputs = [torch.as_tensor(z), torch.from_numpy(covariates)]
        if self.module.makes_counts:
            inputs.append(torch.full((len(z), 1), self.cells.target_sum))
        return self.module.sample(*inputs).cpu().numpy()


def _check_counts(cells: data.RegisteredCells, gene_likelihood: str) -> None:
    """Refuse a likelihood of counts where there are none, or two kinds of them."""
    if cells.n_proteins:
        raise ValueError(
            f"gene_likelihood is {gene_likelihood!r}, but {cells.describe()}, are registered; it is for RNA alone: "
            "leave gene_likelihood out, or take the latent of scvi.model.TOTALVI with MichiGAN.from_latent_model"
        )
    if cells.are_counts:
        return
    x = cells.arrays()[REGISTRY_KEYS.X_KEY]
    values = np.ravel(x.data if sp.issparse(x) else x)
    raise ValueError(
        f"gene_likelihood is {gene_likelihood!r}, but {cells.describe()}, are registered, such as "
        f"{values[values != np.round(values)][0]:g}; register raw counts with setup_anndata(layer=...), or leave "
        "gene_likelihood out"
    )
