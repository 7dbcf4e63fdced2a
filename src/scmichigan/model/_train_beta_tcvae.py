"""The training of the beta-TCVAE."""

import inspect
from typing import Any

import torch
from scvi.train import TrainingPlan

from scmichigan import train as training

_DEFAULT_STEPS = 6000
_LR = 1e-3
# Arguments of the trainer and of the plan that need a step of the trainer for each minibatch.
_ONE_BY_ONE = (
    "accumulate_grad_batches callbacks gradient_clip_val limit_train_batches max_steps on_step reduce_lr_on_plateau "
    "val_check_interval"
).split()
_OF_WARM_UP = ("n_steps_kl_warmup", "n_epochs_kl_warmup", "max_kl_weight", "min_kl_weight")


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
        Fraction of the cells to train on; the rest is for validation (pass ``check_val_every_n_epoch``).
    lr
        Learning rate.
    accelerator, devices, **trainer_kwargs
        As in scvi-tools.
    plan_kwargs
        Further arguments of :class:`scvi.train.TrainingPlan`, but those of a warm-up of the KL divergence, whose weight is
        that of the module throughout.
    stage
        Heading of the progress bar.

    Raises
    ------
    ValueError
        If there are fewer training cells than a minibatch, ``max_epochs`` is below 1, the plan does not know an argument,
        or ``early_stopping`` has no validation cells to look at.
    FloatingPointError
        If the loss becomes NaN or infinite; the message has the epoch.
    """
    training.check_trainer_arguments(self, trainer_kwargs, elsewhere={"plan_kwargs": TrainingPlan})
    given = _plan_arguments(lr, plan_kwargs)
    stacked = not any(value for name, value in {**trainer_kwargs, **given}.items() if name in _ONE_BY_ONE)
    data = training.CellDataModule(
        self.cells.arrays(),
        batch_size=batch_size,
        train_size=train_size,
        n_at_once=training.MINIBATCHES_AT_ONCE if stacked else None,
    )
    monitor = trainer_kwargs.get("early_stopping_monitor") or "elbo_validation"
    if trainer_kwargs.get("early_stopping") and "validation" in monitor and not data.n_val:
        raise ValueError(
            f"early_stopping looks at {monitor!r}, but train_size is {train_size}, which leaves no cells for validation; "
            "give train_size=0.9"
        )
    max_epochs = training.check_epochs(max_epochs) or min(
        400, training.epochs_for(_DEFAULT_STEPS, data.n_train, batch_size)
    )
    # scvi-tools' default eps of 0.01 would keep Adam from adapting to the small gradients of a mean over cells.
    settings = {"lr": lr, "eps": 1e-8, "weight_decay": 0.0, **given}
    if settings.setdefault("optimizer", "Adam") == "Adam":
        # scvi-tools' takes a loop over the weights where torch has a kernel.
        adam = {name: settings[name] for name in ("lr", "eps", "weight_decay")}
        settings["optimizer"] = "Custom"
        settings["optimizer_creator"] = lambda weights: torch.optim.Adam(weights, **adam, fused=True)
    plan = training.ElboTrainingPlan(self.module, **settings)
    plan.automatic_optimization = not stacked
    if not data.n_val:
        # Lightning warns of a plan that can validate where there are no cells for it.
        plan.validation_step = None
    training.run_training(
        self,
        plan,
        data,
        max_epochs=max_epochs,
        stage=stage,
        expression=self.cells.describe(),
        advice="try a smaller lr or beta, and look for cells with extreme expression",
        accelerator=accelerator,
        devices=devices,
        trainer_kwargs=trainer_kwargs,
    )


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
    given = training.check_plan_arguments(given, known)
    if lr != _LR and given.get("lr", lr) != lr:
        raise ValueError(f"lr is {lr}, and {given['lr']} in plan_kwargs; leave one of them out")
    return given
