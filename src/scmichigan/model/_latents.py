"""The latents of GANs: checked, taken from a trained model, inferred, and found again in files."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan import _keys, latents
from scmichigan._checks import check_weight
from scmichigan.data import RegisteredCells

Model = TypeVar("Model", bound=BaseModelClass)

_N_LATENT, _BETA = 10, 10.0  # by default
_OF_LATENT_MODEL = ("gene_likelihood", "kl_weight", "hidden")


def check_latent_arguments(name: str, beta: float, module_kwargs: dict[str, Any]) -> None:
    """Refuse a weight out of range, and arguments of the beta-TCVAE alone."""
    check_weight("beta", beta, "the total correlation must be 0 (the VAE)")
    for argument in _OF_LATENT_MODEL:
        if argument in module_kwargs:
            raise ValueError(
                f"{argument} is an argument of the beta-TCVAE: train a BetaTCVAE(adata, {argument}="
                f"{module_kwargs[argument]!r}) and give it to {name}.from_latent_model"
            )


def check_stored_width(width: int, key: str, n_latent: int, beta: float) -> int:
    """Width of a stored latent; other widths than the default are refused, and so is a beta."""
    if n_latent not in (width, _N_LATENT):
        raise ValueError(
            f"n_latent is {n_latent}, and obsm[{key!r}], which is registered as the latent, has {width} columns; leave "
            "n_latent out"
        )
    if beta != _BETA:
        raise ValueError(f"beta is {beta}, but the latent is there already, in obsm[{key!r}]; leave beta out")
    return width


def from_latent_model(
    cls: type[Model],
    latent_model: BaseModelClass,
    *,
    setup_kwargs: dict[str, Any] | None = None,
    key_added: str = _keys.LATENT,
    **kwargs,
) -> Model:
    """Make a model on the latent of a trained one, such as an :class:`scvi.model.SCVI`, and on its cells.

    Writes the latent of these cells to ``obsm[key_added]``, its variances, where the model gives any, to
    ``obsm[key_added + "_var"]``, and where they are from to ``uns[key_added]``. New cells are encoded by the trained
    model as it is now. A copy of it is saved and loaded with the new one.

    Parameters
    ----------
    latent_model
        Trained model of scvi-tools or of this package with ``get_latent_representation``, on an AnnData or on a MuData
        with RNA. Proteins that it was set up with are generated beside the RNA, peaks are not.
    setup_kwargs
        Arguments of the setup that differ from those of the trained model; ``modalities`` are added to its own.
    key_added
        Key of obsm and uns that latents and their source are written to.
    **kwargs
        Arguments of the new model, but those of a latent (``n_latent``, ``beta``).

    Raises
    ------
    RuntimeError, ValueError
        If the latent model is untrained, has no latent of cells or one that is not finite, or as in the setup.

    Examples
    --------
    >>> scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    >>> vae = scvi.model.SCVI(adata)
    >>> vae.train()
    >>> model = mg.MichiGAN.from_latent_model(vae)
    >>> model.train()
    """
    latents.check_latent_model(latent_model)
    cls.row.check_knows_cells(cls.__name__)
    of_latent = [name for name in ("n_latent", "beta") if name in kwargs]
    if of_latent:
        raise ValueError(
            f"{', '.join(of_latent)} cannot be chosen: the latent is that of the {type(latent_model).__name__} as it is; "
            "leave this out, or train another latent model"
        )
    adata = latent_model.adata
    mean, var = latents.posterior_of(latent_model)
    broken = ~np.isfinite(mean).all(axis=1)
    if broken.any():
        raise ValueError(
            f"the latent of the {type(latent_model).__name__} is not finite in {broken.sum()} of {len(mean)} cells, the "
            f"first is {adata.obs_names[np.argmax(broken)]!r}: look at its history, and train it again with a smaller "
            "learning rate"
        )
    adata.obsm[key_added] = mean
    keys = {"latent_key": key_added}
    provenance = {"model": type(latent_model).__name__}
    if var is not None:
        keys["latent_var_key"] = provenance["variance"] = f"{key_added}_var"
        adata.obsm[f"{key_added}_var"] = var
    adata.uns[key_added] = provenance
    setup = cls.setup_anndata if isinstance(adata, AnnData) else cls.setup_mudata
    setup(adata, **latents.setup_arguments(latent_model, setup, keys | (setup_kwargs or {})))
    model = cls(adata, **kwargs)
    model.latent = latents.ModelLatent.from_model(
        latent_model, model.latent.name, partial(RegisteredCells.of, model), (mean, var)
    )
    return model


def get_latent_representation(
    self,
    adata: AnnData | MuData | None = None,
    indices: Sequence[int] | None = None,
    give_mean: bool = True,
    *,
    return_dist: bool = False,
    seed: int = 0,
) -> np.ndarray | tuple[np.ndarray, np.ndarray | None]:
    """Latents of cells: inferred by the beta-TCVAE or the latent model, or read from ``obsm``.

    Of an :class:`InfoWGANGP`, codes as the body of the critic infers them.

    Parameters
    ----------
    adata
        Cells with the same genes; ``None`` for the registered ones. Without a latent model they need the stored latent.
    indices
        Cells to return, all by default.
    give_mean
        Whether to give posterior means, or a sample of each posterior, with the random ``seed``.
    return_dist
        Also return the posterior variances (``None`` where a stored latent has none).

    Returns
    -------
    Shape ``(n_cells, n_latent)``, and the variances where asked for.

    Raises
    ------
    RuntimeError, ValueError
        If the model that infers them is untrained, or there are no latents of cells.
    """
    mean, var = self.latent.posterior(adata, indices)
    if not give_mean and var is not None:
        mean = latents.sample_posterior(mean, var, np.random.default_rng(seed))
    return (mean, var) if return_dist else mean


def observed_expression(
    self, adata: AnnData | MuData | None = None
) -> np.ndarray | sp.csr_matrix | tuple[np.ndarray | sp.csr_matrix, ...]:
    """Observed expression, as from :meth:`BetaTCVAE.get_observed_expression`; other cells need no stored latent."""
    return latents.cells_for_expression(partial(RegisteredCells.of, self), self.cells, adata, self.n_latent).observed()
