"""GANs that know no latents of cells: what they make comes from a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from scmichigan._arrays import dense
from scmichigan._compat import finish_init, manager_of

from ._common import (
    check_n_latent,
    check_trained,
    covariate_columns,
    in_chunks,
    normalized_expression,
)
from ._fields import PlainSetupMixin
from ._gan import GANBase
from ._presets import Row


class PriorGAN(PlainSetupMixin, GANBase):
    """A GAN on a standard normal prior; a base only."""

    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        plan_kwargs: dict[str, Any] | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train generator and critic. Train again to continue.

        Parameters
        ----------
        max_epochs
            Passes through the cells, 1,000 by default.
        batch_size
            Cells in a minibatch, 32 by default.
        accelerator, devices
            As in scvi-tools.
        plan_kwargs
            Arguments of :class:`~scmichigan.train.AdversarialTrainingPlan`.
        **trainer_kwargs
            Passed to :class:`scvi.train.Trainer`. What it takes for a batch, as in ``limit_train_batches``, is five
            minibatches (fewer of more than 128 cells), and it looks at the number of steps (``max_steps``), those of both
            networks, after these: save checkpoints by epochs.

        Raises
        ------
        ValueError
            If there are fewer cells than a minibatch, or ``max_epochs`` is below 1.
        FloatingPointError
            If a loss becomes NaN or infinite; the message has the epoch.
        """
        self._check_trainer_arguments(trainer_kwargs, {})
        data = self._cells_to_train_on(batch_size)
        max_epochs, plan = self._epochs(max_epochs, data), self._plan(plan_kwargs)
        if not self.is_trained and self.module.scale_inputs:
            self.module.set_expression_scale(self._expression_deviation())
        self._train_gan(
            data,
            plan,
            max_epochs,
            stage=type(self).__name__,
            accelerator=accelerator,
            devices=devices,
            trainer_kwargs=trainer_kwargs,
        )


class WGANGP(PriorGAN):
    """Wasserstein GAN with gradient penalty, without any condition: cells from noise.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Dimensions of the noise: 128 as published, or as few as another model's latent to be compared with it.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.MichiGANModule` that differ from the published ones.

    Raises
    ------
    ValueError
        If ``n_latent`` is below 1, or another argument is unknown or not one of its choices.

    References
    ----------
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs"; Yu and Welch 2021, Methods, "WGAN-GP".
    """

    row = Row(latent="prior", critic_head=None, n_noise=0)

    def __init__(self, adata: AnnData, n_latent: int = 128, **module_kwargs) -> None:
        check_n_latent(n_latent)
        super().__init__(adata)
        module_kwargs = self._build(n_latent, "paper", module_kwargs)
        finish_init(self, locals(), self._describe("from a prior"))


class InfoWGANGP(PriorGAN):
    """InfoGAN with the Wasserstein distance: cells from a code that can be inferred from them, and noise.

    Parameters
    ----------
    adata
        Registered with :meth:`setup_anndata`.
    n_latent
        Dimensions of the code.
    **module_kwargs
        Arguments of :class:`~scmichigan.module.MichiGANModule` that differ from the published ones.

    Raises
    ------
    ValueError
        If ``n_latent`` is below 1, or another argument is unknown or not one of its choices.

    References
    ----------
    Chen et al. 2016, "InfoGAN"; Yu and Welch 2021, Methods, "InfoGAN and ssInfoGAN".
    """

    row = Row(latent="prior", critic_head=None, information="generated")

    def __init__(self, adata: AnnData, n_latent: int = 10, **module_kwargs) -> None:
        check_n_latent(n_latent)
        super().__init__(adata)
        module_kwargs = self._build(n_latent, "paper", module_kwargs)
        finish_init(self, locals(), self._describe("from a prior"))

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Codes of cells, as the body of the critic infers them.

        Parameters
        ----------
        adata
            Cells with the same genes; ``None`` for the registered ones.
        indices
            Cells to return, all by default.
        return_dist
            Also return the variances, which the model takes to be 1.

        Returns
        -------
        Means, shape ``(n_cells, n_latent)``, and the variances where asked for.
        """
        check_trained(self)
        manager = manager_of(self, adata)
        rows = np.arange(manager.adata.n_obs) if indices is None else np.asarray(indices)
        columns = covariate_columns(manager, self.module.inputs, rows)
        codes = []
        for chunk in in_chunks(len(rows)):
            x = dense(normalized_expression(manager, self.module.inputs, rows[chunk]))
            codes.append(self.module.infer_codes(torch.from_numpy(x), columns[chunk]).cpu().numpy())
        mean = np.concatenate(codes)
        return (mean, np.ones_like(mean)) if return_dist else mean

    def _latent_source(self) -> str:
        return "inferred codes"
