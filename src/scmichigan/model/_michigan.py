"""The GANs, one row each."""

from typing import Literal

from anndata import AnnData

from scmichigan._compat import finish_init

from ._gan import GAN
from ._rows import Row


class MichiGAN(GAN):
    """Conditional GAN that turns a latent into realistic cells.

    The latent is a stored one (``setup_anndata(latent_key=...)``), or that of a beta-TCVAE which :meth:`train` fits
    first.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent, beta
        Of the beta-TCVAE; a stored latent has its own width, and no beta.
    latent_sampling
        ``"sample"`` samples each cell's latent anew from its posterior whenever it is visited, ``"mean"`` takes the
        posterior mean. A stored latent without variance has only means.
    preset
        ``"default"``, or ``"paper"`` for networks, losses and training exactly as published.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.GANSettings` that differ from the preset. ``observation`` is
        ``"poisson"`` by default where raw counts are registered: the generator makes counts.

    Notes
    -----
    Before the first step the generator is set to the best one that can be had in closed form:
    :func:`~scmichigan.closed_form.fit_poisson_log_normal` for counts, :func:`~scmichigan.closed_form.fit_linear_gaussian` for
    log-normalised expression. ``history`` holds, per epoch, ``critic_loss``, ``generator_loss``, ``gradient_penalty``
    and ``score_gap``, the critic's mean score of real minus that of generated cells; and twenty times in a training
    ``latent_recovery``, the mean correlation of the latents of 1,000 generated cells with those that they were made from,
    and ``latent_recovery_gap``, how far the least recovered latent is behind real cells (see :meth:`latent_recovery`).

    References
    ----------
    Yu and Welch 2021, Algorithm 1.

    Examples
    --------
    >>> mg.MichiGAN.setup_anndata(adata, labels_key="cell_type", size_factor_key="total_counts")
    >>> model = mg.MichiGAN(adata, beta=10.0)
    >>> model.train()
    >>> cells = model.generate(n_samples=1000, seed=0)
    """

    row = Row(latent="stored", critic_head="projection")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        preset: Literal["default", "paper"] = "default",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build(n_latent, module_kwargs, preset=preset, beta=beta, latent_sampling=latent_sampling)
        finish_init(self, locals(), self._summary())


class CWGANGP(GAN):
    """Conditional WGAN-GP by concatenation: MichiGAN whose critic gets cell and latent side by side.

    Arguments and errors are those of :class:`MichiGAN`; ``**module_kwargs`` differ from the published settings.

    References
    ----------
    Yu and Welch 2021, Additional file 1, Figure S7; Mirza and Osindero 2014, "Conditional generative adversarial nets".
    """

    row = Row(latent="stored", critic_head="concatenation")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build(n_latent, module_kwargs, beta=beta, latent_sampling=latent_sampling)
        finish_init(self, locals(), self._summary())


class SemiSupervisedInfoWGANGP(GAN):
    """Semi-supervised InfoWGAN-GP: cells from a prior, and a code that is held to the latents of the real cells.

    The critic does not look at the latent. Its body infers one from each cell instead: that which a generated cell was made
    from, and that which is stored for a real one.

    Arguments and errors are those of :class:`MichiGAN`; ``**module_kwargs`` differ from the published settings.

    References
    ----------
    Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN"; Spurr et al. 2017, "Guiding InfoGAN with semi-supervision".
    """

    row = Row(latent="prior", critic_head=None, information="both")

    def __init__(
        self,
        adata: AnnData,
        n_latent: int = 10,
        beta: float = 10.0,
        latent_sampling: Literal["sample", "mean"] = "sample",
        **module_kwargs,
    ) -> None:
        super().__init__(adata)
        module_kwargs = self._build(n_latent, module_kwargs, beta=beta, latent_sampling=latent_sampling)
        finish_init(self, locals(), self._summary())


class WGANGP(GAN):
    """Wasserstein GAN with gradient penalty, without any condition: cells from noise.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Dimensions of the noise: 128 as published, or as few as another model's latent to be compared with it.
    **module_kwargs
        Fields of :class:`~scmichigan.module.GANSettings` that differ from the published ones.

    References
    ----------
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs"; Yu and Welch 2021, Methods, "WGAN-GP".
    """

    row = Row(latent="prior", critic_head=None, n_noise=0)

    def __init__(self, adata: AnnData, n_latent: int = 128, **module_kwargs) -> None:
        super().__init__(adata)
        module_kwargs = self._build(n_latent, module_kwargs)
        finish_init(self, locals(), self._summary())


class InfoWGANGP(GAN):
    """InfoGAN with the Wasserstein distance: cells from a code that can be inferred from them, and noise.

    Arguments are those of :class:`WGANGP`; ``n_latent`` are the dimensions of the code.

    References
    ----------
    Chen et al. 2016, "InfoGAN"; Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN".
    """

    row = Row(latent="prior", critic_head=None, information="generated")

    def __init__(self, adata: AnnData, n_latent: int = 10, **module_kwargs) -> None:
        super().__init__(adata)
        module_kwargs = self._build(n_latent, module_kwargs)
        finish_init(self, locals(), self._summary())
