"""The training of the GANs: the latent, the closed-form start, and the adversarial steps."""

import inspect
import warnings
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from scmichigan import _keys
from scmichigan import train as training
from scmichigan._arrays import dense, unit_of
from scmichigan.closed_form import fit_linear_gaussian, fit_poisson_log_normal
from scmichigan.latents import FittedLatent, posterior_to_sample

from ._beta_tcvae import BetaTCVAE
from ._latent_recovery import gap, measure_latent_recovery

_N_CELLS_WATCHED = 1000
_N_LOOKS = 20
_N_CELLS_OF_COMPONENTS = 5000
_COMPONENT_DEVIATION = 4.0
_LEAST_DEVIATION = 1e-3
_LARGEST_UNIT = 10.0
_ADVICE = (
    "try smaller learning rates (plan_kwargs={'lr_generator': 1e-4, 'lr_critic': 1e-4}), and look for extreme values in "
    "expression and latent"
)


def train(
    self,
    max_epochs: int | None = None,
    *,
    batch_size: int | None = None,
    latent_kwargs: dict[str, Any] | None = None,
    accelerator: str = "auto",
    devices: int | list[int] | str = "auto",
    plan_kwargs: dict[str, Any] | None = None,
    key_added: str = _keys.LATENT,
    **trainer_kwargs,
) -> None:
    """Train the generator; where the latent is neither stored nor given, fit the beta-TCVAE first.

    Writes the latent of a beta-TCVAE to ``obsm[key_added]`` (posterior means) and ``obsm[key_added + "_var"]``, and its
    provenance to ``uns[key_added]``; its history is ``latent_model.history``. Train again to continue with the generator.

    Parameters
    ----------
    max_epochs
        Passes of the generator's training through the cells; by default 150, but such that they take between 3,000
        and 12,000 critic steps (1,000 epochs with the published settings). 0 leaves the generator as the closed form has it.
    batch_size
        Cells in a minibatch, in both stages; by default 128 (32 with the published settings).
    latent_kwargs
        Arguments of :meth:`BetaTCVAE.train` for the first stage, where there is one.
    accelerator, devices
        As in scvi-tools, for both stages.
    plan_kwargs
        Arguments of :class:`~scmichigan.train.AdversarialTrainingPlan`.
    key_added
        Key of obsm and uns that the latent of a beta-TCVAE is written to.
    **trainer_kwargs
        Passed to :class:`scvi.train.Trainer` in both stages; in the second alone, ``ckpt_path``, a checkpoint to go on from,
        ``callbacks``, and ``early_stopping`` with what belongs to it. A batch of the generator's training, as in
        ``limit_train_batches``, is five minibatches (fewer of more than 128 cells), after which ``max_steps``, the steps of
        both networks, is looked at: save checkpoints by epochs.

    Raises
    ------
    ValueError
        If there are fewer cells than a minibatch, or ``max_epochs`` is negative, or 0 where no closed form starts the
        generator.
    FloatingPointError
        If a loss becomes NaN or infinite; the message has the epoch.
    KeyboardInterrupt
        If it is interrupted; what the generator has learned is kept, and ``train`` continues.
    """
    _check_latent_kwargs(self, latent_kwargs)
    knows_cells, fits_latent = self.beta is not None, isinstance(self.latent, FittedLatent)
    lacks_latent = fits_latent and self.latent_model is None
    training.check_arguments_of_players(
        self, trainer_kwargs, {"latent_kwargs": BetaTCVAE.train} if lacks_latent else {}
    )
    schedule = training.SCHEDULES[self.preset]
    data = training.CellDataModule(
        self.cells.arrays(),
        batch_size=schedule.batch_size if batch_size is None else batch_size,
        n_at_once=training.MINIBATCHES_AT_ONCE,
    )
    if not (max_epochs == 0 and self.module.generator.decoder is not None):
        max_epochs = training.check_epochs(max_epochs) or schedule.epochs(data.n_train, data.batch_size)
    known = [name for name in inspect.signature(training.AdversarialTrainingPlan).parameters if name != "module"]
    given = training.check_plan_arguments(plan_kwargs, known)
    plan = training.AdversarialTrainingPlan(self.module, **(schedule.plan_kwargs | given))
    devices_kwargs = {"accelerator": accelerator, "devices": devices}
    if lacks_latent:
        shared_kwargs = {"batch_size": data.batch_size, **devices_kwargs, **trainer_kwargs}
        of_first = {
            name: value
            for name, value in shared_kwargs.items()
            if name not in ("ckpt_path", "callbacks") and not name.startswith("early_stopping")
        }
        _fit_latent_model(self, of_first | (latent_kwargs or {}), key_added)
    if knows_cells:
        mean, var = posterior_to_sample(self.latent, self.latent_sampling)
        data.add(_keys.LATENT_MEAN_TENSOR, mean)
        if var is not None:
            data.add(_keys.LATENT_VAR_TENSOR, var)
        if not self.is_trained:
            _start(self, mean, var)
        # The closed form alone has no history to write to.
        trainer_kwargs = _watching_latent_recovery(self, trainer_kwargs, max_epochs) if max_epochs else trainer_kwargs
    elif not self.is_trained:
        _scale_expression(self)
    heading = "conditional GAN" if knows_cells else type(self).__name__
    stage = f"stage 2 of 2: {heading}" if fits_latent else heading
    if max_epochs == 0:
        self.module.eval()
        self.is_trained = True
        return
    was_trained = self.is_trained
    # scvi-tools adds to the history of a trained model; the closed form alone has none, nor an interrupted first epoch.
    self.is_trained = bool(self.history)
    try:
        training.run_training(
            self,
            plan,
            data,
            max_epochs=max_epochs,
            stage=stage,
            expression=self.cells.describe(),
            advice=_ADVICE,
            trainer_kwargs=trainer_kwargs,
            **devices_kwargs,
        )
    except BaseException:
        self.is_trained |= was_trained
        raise


def _check_latent_kwargs(model: BaseModelClass, latent_kwargs: dict[str, Any] | None) -> None:
    """Refuse arguments of a first stage where there is none, or it is over."""
    if not isinstance(latent_kwargs, dict | None):
        raise ValueError(f"latent_kwargs is {latent_kwargs!r}; give a dictionary of arguments of BetaTCVAE.train")
    if not latent_kwargs:
        return
    if model.beta is None:
        raise ValueError(
            f"latent_kwargs are for fitting a latent, and {type(model).__name__} has a prior; leave them out"
        )
    key = model.registry["setup_args"].get("latent_key")
    if key is not None:
        raise ValueError(
            f"latent_kwargs are for fitting a latent, but obsm[{key!r}] is registered as one; leave them out"
        )
    if model.latent_model is not None:
        raise ValueError(
            "latent_kwargs are for fitting the latent, which this model has done; leave them out to train the generator "
            "further, or make a new model"
        )


def _fit_latent_model(model: BaseModelClass, train_kwargs: dict[str, Any], key: str) -> None:
    """Stage 1: the beta-TCVAE on the same cells; its latent goes to obsm."""
    args = {k: v for k, v in model.registry["setup_args"].items() if not k.startswith("latent")}
    setup = BetaTCVAE.setup_anndata if isinstance(model.adata, AnnData) else BetaTCVAE.setup_mudata
    setup(model.adata, **args)
    latent_model = BetaTCVAE(model.adata, n_latent=model.n_latent, beta=model.beta)
    latent_model.train(**{"train_size": 1.0, "stage": "stage 1 of 2: beta-TCVAE", **train_kwargs})
    model.latent = FittedLatent(type(model).__name__, latent_model, key)
    model.adata.obsm[key], model.adata.obsm[f"{key}_var"] = model.latent.posterior()
    model.adata.uns[key] = {"model": "BetaTCVAE", "beta": model.beta, "variance": f"{key}_var"}


def _watching_latent_recovery(model: BaseModelClass, trainer_kwargs: dict[str, Any], max_epochs: int) -> dict[str, Any]:
    measure = measure_latent_recovery(model, n_cells=_N_CELLS_WATCHED, seed=0)

    def mean_and_gap() -> dict[str, float]:
        table = measure()
        return {"latent_recovery": table["generated"].mean(), "latent_recovery_gap": gap(table)}

    watch = training.LogSometimes(mean_and_gap, every=max(1, max_epochs // _N_LOOKS))
    return trainer_kwargs | {"callbacks": [watch, *trainer_kwargs.get("callbacks", [])]}


def _scale_expression(model: BaseModelClass) -> None:
    """Have the critic see all genes at comparable scales, where its settings say so."""
    if model.module.scale_inputs:
        deviation = np.sqrt(StandardScaler(with_mean=False).fit(model.cells.expression()).var_)
        model.module.set_expression_scale(torch.from_numpy(deviation).float())


def _start(model: BaseModelClass, mean: np.ndarray, var: np.ndarray | None) -> None:
    """Scale what the networks see, and set the parts of the generator that a closed form gives."""
    module, cells, n_latent = model.module, model.cells, model.n_latent
    columns = cells.covariates(np.arange(len(mean)))
    condition = np.concatenate([mean, columns], axis=1)
    condition_var = None if var is None else np.concatenate([var, np.zeros_like(columns)], axis=1)
    centre, deviation = unit_of(condition, 0.0 if var is None else condition_var.mean(axis=0, dtype=np.float64))
    _scale_expression(model)
    if module.scale_inputs or module.generator.decoder is not None:
        module.set_unit(*map(torch.from_numpy, (centre, deviation)))
    else:
        _warn_of_units(centre[:n_latent], deviation[:n_latent])
    if module.critic.n_components:
        module.set_components(_components(model, module.critic.n_components))
    condition = (condition - centre) / deviation
    condition_var = None if var is None else condition_var / deviation**2
    settings = {"condition_var": condition_var, "n_noise": module.n_noise}
    if not module.makes_counts or columns.size:
        linear = tuple(map(torch.from_numpy, fit_linear_gaussian(cells.expression(), condition, **settings)))
        module.covariate_weight.copy_(linear[0][:, n_latent:] / torch.from_numpy(deviation[n_latent:]))
    if module.generator.decoder is None:
        return
    if not module.makes_counts:
        module.start(*linear)
        return
    size = cells.by_feature(cells.totals()) / cells.target_sum
    n_centres = len(module.generator.basis.centres)
    kernel, *parts = fit_poisson_log_normal(cells.counts(), size, condition, n_centres=n_centres, **settings)
    module.start(*map(torch.from_numpy, parts), kernel=tuple(map(torch.as_tensor, kernel)))


def _components(model: BaseModelClass, n_components: int) -> torch.Tensor:
    """Weights of scaled genes in their principal components, shape ``(n_genes, n_components)``, fewer for few cells."""
    rows = np.sort(np.random.default_rng(0).permutation(model.cells.n_cells)[:_N_CELLS_OF_COMPONENTS])
    x = dense(model.cells.expression(rows)) * model.module.critic.input_scale.numpy(force=True)
    pca = PCA(min(n_components, *x.shape), random_state=0).fit(x)
    deviation = np.sqrt(pca.explained_variance_)
    is_there = deviation > _LEAST_DEVIATION * deviation[0]
    return torch.from_numpy(pca.components_[is_there].T * (_COMPONENT_DEVIATION / deviation[is_there]))


def _warn_of_units(centre: np.ndarray, deviation: np.ndarray) -> None:
    """Say that networks which take latents as they are were not made for these."""
    worst = np.maximum(np.abs(centre), deviation)
    if worst.max() > _LARGEST_UNIT or worst.max() < 1 / _LARGEST_UNIT:
        k = int(np.argmax(worst))
        warnings.warn(
            f"latent {k + 1} has the mean {centre[k]:.3g} and the standard deviation {deviation[k]:.3g}, and the published "
            "networks, which take it as it is, are made for about 0 and 1: standardise the latent first (the default preset of "
            "MichiGAN does so itself)",
            stacklevel=4,
        )
