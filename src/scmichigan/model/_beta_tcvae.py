"""The disentangled representation."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass, VAEMixin
from scvi.train import TrainingPlan

from scmichigan._checks import check_choice
from scmichigan._compat import finish_init
from scmichigan.module import BetaTCVAEModule, CountTCVAEModule
from scmichigan.train import MINIBATCHES_AT_ONCE, CellDataModule, ElboTrainingPlan

from ._common import (
    ExpressionMixin,
    cell_format,
    check_epochs,
    check_latent,
    check_n_latent,
    check_plan_arguments,
    check_trained,
    check_trainer_arguments,
    covariate_columns,
    describe_expression,
    draw_posterior,
    draw_rows,
    epochs_for,
    in_chunks,
    kind_of,
    n_features,
    registered_arrays,
    run_training,
    standardise_numbers,
)
from ._fields import register_cells
from ._modalities import register_modalities
from ._saved import SavedMixin

_DEFAULT_STEPS = 6000
_LR = 1e-3
# Arguments of the trainer and of the plan that need a step of the trainer for each minibatch.
_ONE_BY_ONE = {
    "accumulate_grad_batches",
    "callbacks",
    "gradient_clip_val",
    "limit_train_batches",
    "max_steps",
    "on_step",
    "reduce_lr_on_plateau",
    "val_check_interval",
}
_OF_WARM_UP = ("n_steps_kl_warmup", "n_epochs_kl_warmup", "max_kl_weight", "min_kl_weight")


class BetaTCVAE(ExpressionMixin, SavedMixin, VAEMixin, BaseModelClass):
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

    Raises
    ------
    ValueError
        If ``n_latent`` is below 1, ``beta`` negative or not finite, or ``gene_likelihood`` unknown, or one of counts where
        log-normalised expression is registered.

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
        check_latent_arguments(n_latent, beta)
        check_weight("kl_weight", module_kwargs.get("kl_weight", 1.0), "the KL divergence must be 0")
        check_choice("gene_likelihood", gene_likelihood, ("normal", "nb", "zinb", "poisson"))
        super().__init__(adata)
        if gene_likelihood == "normal":
            module, own = BetaTCVAEModule, {}
        else:
            _check_counts(self, gene_likelihood)
            module, own = CountTCVAEModule, {"gene_likelihood": gene_likelihood}
        self.module = module(
            n_features(self), cells=cell_format(self), n_latent=n_latent, beta=beta, **own, **module_kwargs
        )
        standardise_numbers(self)
        finish_init(
            self,
            locals(),
            f"beta-TCVAE with n_latent: {n_latent}, beta: {beta}, gene_likelihood: {gene_likelihood}, "
            f"on {describe_expression(self)}",
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
        register_cells(locals())

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
            Layer with the counts of the modality; ``None`` for its ``X``.
        batch_key, labels_key, size_factor_key, categorical_covariate_keys, continuous_covariate_keys, target_sum
            As in :meth:`setup_anndata`. The size factor is that of the RNA; proteins are scaled by their sum.
        modalities
            The modality of each argument, such as ``{"rna_layer": "rna", "protein_layer": "protein", "batch_key": "rna"}``.
            Without ``"protein_layer"`` there is RNA only; columns of an argument without one are those of ``mdata.obs``.
        **kwargs
            Passed to scvi-tools' registration.

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
        register_modalities(locals())

    def train(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 128,
        train_size: float = 0.9,
        lr: float = _LR,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        plan_kwargs: dict[str, Any] | None = None,
        stage: str = "beta-TCVAE",
        **trainer_kwargs,
    ) -> None:
        """Train the model.

        Parameters
        ----------
        max_epochs
            Passes through the training cells; by default as many as take about 6,000 steps, at most 400.
        batch_size
            Cells in a minibatch; the total correlation is estimated within it.
        train_size
            Share of the cells to train on; the rest is for validation (pass ``check_val_every_n_epoch``).
        lr
            Learning rate.
        accelerator, devices
            As in scvi-tools.
        plan_kwargs
            Further arguments of :class:`scvi.train.TrainingPlan`, but those of a warm-up of the KL divergence, whose weight is
            that of the module throughout.
        stage
            Heading of the progress bar.
        **trainer_kwargs
            Passed to :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            If there are fewer training cells than a minibatch, ``max_epochs`` is below 1, the plan does not know an argument,
            or ``early_stopping`` has no validation cells to look at.
        FloatingPointError
            If the loss becomes NaN or infinite; the message has the epoch.
        """
        check_trainer_arguments(self, trainer_kwargs, elsewhere={"plan_kwargs": TrainingPlan})
        given = self._plan_arguments(lr, plan_kwargs)
        stacked = not any(value for name, value in {**trainer_kwargs, **given}.items() if name in _ONE_BY_ONE)
        data = CellDataModule(
            registered_arrays(self.adata_manager),
            batch_size=batch_size,
            train_size=train_size,
            n_at_once=MINIBATCHES_AT_ONCE if stacked else None,
        )
        monitor = trainer_kwargs.get("early_stopping_monitor") or "elbo_validation"
        if trainer_kwargs.get("early_stopping") and "validation" in monitor and not data.n_val:
            raise ValueError(
                f"early_stopping looks at {monitor!r}, but train_size is {train_size}, which leaves no cells for validation; "
                "give train_size=0.9"
            )
        max_epochs = check_epochs(max_epochs) or min(400, epochs_for(_DEFAULT_STEPS, data.n_train, batch_size))
        # scvi-tools' default eps of 0.01 would keep Adam from adapting to the small gradients of a mean over cells.
        settings = {"lr": lr, "eps": 1e-8, "weight_decay": 0.0, **given}
        if settings.setdefault("optimizer", "Adam") == "Adam":
            # scvi-tools' takes a loop over the weights where torch has a kernel.
            adam = {name: settings[name] for name in ("lr", "eps", "weight_decay")}
            settings["optimizer"] = "Custom"
            settings["optimizer_creator"] = lambda weights: torch.optim.Adam(weights, **adam, fused=True)
        plan = ElboTrainingPlan(self.module, **settings)
        plan.automatic_optimization = not stacked
        if not data.n_val:
            # Lightning warns of a plan that can validate where there are no cells for it.
            plan.validation_step = None
        run_training(
            self,
            plan,
            data,
            max_epochs=max_epochs,
            stage=stage,
            advice="try a smaller lr or beta, and look for cells with extreme expression",
            accelerator=accelerator,
            devices=devices,
            trainer_kwargs=trainer_kwargs,
        )

    @staticmethod
    def _plan_arguments(lr: float, plan_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """Arguments of the plan, checked."""
        given = plan_kwargs
        if isinstance(given, dict):
            given = {name: value for name, value in given.items() if not (name in _OF_WARM_UP and value is None)}
            warm_up = [name for name in _OF_WARM_UP if name in given]
            if warm_up:
                raise ValueError(
                    f"plan_kwargs has {', '.join(warm_up)}, but the KL divergence has the same weight throughout, kl_weight of "
                    "the constructor; leave this out"
                )
        left_out = {"module", "loss_kwargs", "update_only_decoder", *_OF_WARM_UP}
        known = [name for name in inspect.signature(TrainingPlan).parameters if name not in left_out]
        given = check_plan_arguments(given, known)
        if lr != _LR and given.get("lr", lr) != lr:
            raise ValueError(f"lr is {lr}, and {given['lr']} in plan_kwargs; leave one of them out")
        return given

    @torch.inference_mode()
    def generate(
        self,
        n_samples: int = 1000,
        *,
        where: dict[str, str] | None = None,
        latent: np.ndarray | None = None,
        noise: bool = False,
        seed: int = 0,
    ) -> AnnData | MuData:
        """Decode latents, drawn from the aggregate posterior of the registered cells or given.

        Parameters
        ----------
        n_samples
            Cells to generate. Not used with ``latent``.
        where
            Labels that the source cells must have, for example ``{"cell_type": "B cells"}``.
        latent
            Decode each of these latents instead, shape ``(n_samples, n_latent)``; covariates are then drawn from the
            registered cells.
        noise
            Draw from the likelihood instead of taking its mean; which one was done is in ``uns``. The mean is too smooth for
            real cells, and the draw of a normal likelihood, N(mean, 1), too noisy.
        seed
            Of all draws.

        Returns
        -------
        AnnData with log-normalised expression in X, latents in ``obsm["X_michigan"]``, labels and names of the source
        cells in obs (with ``latent`` only the covariates that they were rendered with), provenance in ``uns["michigan"]``.
        The mean of a likelihood of counts is the expected counts, log-normalised like the registered ones; its draws are of
        the totals of the source cells, and are also in ``layers["counts"]``, with what they are normalised by in obs, as in
        :meth:`MichiGAN.generate`. Proteins are in ``obsm["X_michigan_protein"]``; of a MuData comes a MuData.
        """
        check_trained(self)
        rng = np.random.default_rng(seed)
        given = None if latent is None else check_latent(latent, self.module.n_latent)
        rows = draw_rows(self._labelled, n_samples if given is None else len(given), where, rng)
        inputs = [covariate_columns(self.adata_manager, self.module.inputs, rows)]
        totals = self._totals()[rows] if self.module.makes_counts else None
        if totals is not None:
            inputs.append(torch.from_numpy(totals).float())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            z = given
            if z is None:
                z = draw_posterior(*self.get_latent_representation(indices=rows, return_dist=True), rng)
            chunks = ([torch.as_tensor(z[c]), *(a[c] for a in inputs)] for c in in_chunks(len(z)))
            x = torch.cat([self.module.sample(*chunk, noise=noise) for chunk in chunks]).cpu().numpy()
        if totals is not None and not noise:
            # Expected counts are no counts: only their logarithms are kept.
            x, totals = self._log_normalized(x, totals)[0], None
        provenance = {"model": "BetaTCVAE", "noise": noise, "seed": seed}
        cells = self._cells(x, totals, rows=rows if given is None else None, latent=z, provenance=provenance)
        return self._as_registered(cells if given is None else self._with_covariates(cells, rows))


def _check_counts(model: BetaTCVAE, gene_likelihood: str) -> None:
    """Refuse a likelihood of counts where there are none, or two kinds of them."""
    if model.summary_stats.get("n_proteins", 0):
        raise ValueError(
            f"gene_likelihood is {gene_likelihood!r}, but {describe_expression(model)}, are registered; it is for RNA alone: "
            "leave gene_likelihood out, or take the latent of scvi.model.TOTALVI with MichiGAN.from_latent_model"
        )
    if kind_of(model) == "counts":
        return
    x = registered_arrays(model.adata_manager)[REGISTRY_KEYS.X_KEY]
    values = np.ravel(x.data if sp.issparse(x) else x)
    raise ValueError(
        f"gene_likelihood is {gene_likelihood!r}, but {describe_expression(model)}, are registered, such as "
        f"{values[values != np.round(values)][0]:g}; register raw counts with setup_anndata(layer=...), or leave "
        "gene_likelihood out"
    )


def check_latent_arguments(n_latent: int, beta: float) -> None:
    """Refuse latents without dimensions, and weights that are negative or infinite."""
    check_n_latent(n_latent)
    check_weight("beta", beta, "the total correlation must be 0 (the VAE)")


def check_weight(name: str, weight: float, rule: str) -> None:
    """Refuse weights in the loss that are negative or infinite."""
    if not isinstance(weight, Real) or not 0 <= weight < float("inf"):
        raise ValueError(f"{name} is {weight!r}; the weight of {rule} or more, and finite")
