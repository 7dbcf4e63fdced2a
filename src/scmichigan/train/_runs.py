"""Training runs of all models, and the checks of their arguments."""

import inspect
import logging
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from scvi.model.base import BaseModelClass
from scvi.train import Trainer, TrainRunner

from ._adversarial import AdversarialTrainingPlan
from ._callbacks import StageProgressBar, StopOnNonFinite
from ._data import CellDataModule

logger = logging.getLogger("scmichigan")


def epochs_for(n_steps: int, n_cells: int, batch_size: int) -> int:
    """Epochs that take about ``n_steps`` minibatches."""
    return max(1, round(n_steps / max(1, n_cells // batch_size)))


def check_epochs(max_epochs: int | None) -> int | None:
    """Refuse anything but a positive number of epochs; ``None`` stays."""
    if not isinstance(max_epochs, Integral | None) or (max_epochs is not None and max_epochs < 1):
        raise ValueError(f"max_epochs is {max_epochs!r}; give a whole number, 1 or more, or None to have the default")
    return max_epochs


def own_arguments(model: type[BaseModelClass]) -> list[str]:
    """Names of the arguments of a model but for the cells, and for those that it passes to its module."""
    parameters = inspect.signature(model).parameters.values()
    return [p.name for p in parameters if p.name != "adata" and p.kind is not p.VAR_KEYWORD]


def check_trainer_arguments(
    model: BaseModelClass, given: dict[str, Any], elsewhere: dict[str, Callable[..., None]]
) -> None:
    """Refuse what no trainer takes; ``elsewhere`` are arguments of ``train`` with functions whose arguments they hold."""
    known = {name for trainer in (Trainer, pl.Trainer) for name in inspect.signature(trainer).parameters} - {
        "overfit_batches"
    }
    settings = [field.name for field in fields(model.module.settings)] if hasattr(model.module, "settings") else []
    for name in set(given) - known - {"ckpt_path"}:
        own = ", ".join(
            key for key in inspect.signature(model.train).parameters if key not in ("self", "trainer_kwargs")
        )
        cure = f"its arguments are {own}, and those of scvi.train.Trainer"
        if name in [*own_arguments(type(model)), *inspect.signature(type(model.module)).parameters, *settings]:
            cure = f"it is one of the constructor, {name}={given[name]!r} where the model is made"
        for argument, function in elsewhere.items():
            if name in inspect.signature(function).parameters:
                cure = f"give it in {argument}={{{name!r}: {given[name]!r}}}"
        raise TypeError(f"{type(model).__name__}.train has no {name}; {cure}")
    path = given.get("ckpt_path")
    # Lightning takes addresses and words of its own, too, and would miss a file only when a first stage is over.
    if path is not None and Path(path).suffix and "://" not in str(path) and not Path(path).exists():
        raise FileNotFoundError(
            f"ckpt_path is {str(path)!r}, and there is no such file; give one that a ModelCheckpoint wrote"
        )


def check_arguments_of_players(
    model: BaseModelClass, given: dict[str, Any], elsewhere: dict[str, Callable[..., None]]
) -> None:
    """Refuse what no trainer takes, or none of two networks that take turns."""
    check_trainer_arguments(model, given, elsewhere={"plan_kwargs": AdversarialTrainingPlan} | elsewhere)
    for name, nothing in {"gradient_clip_val": (None, 0), "accumulate_grad_batches": (None, 1)}.items():
        if given.get(name) not in nothing:
            cure = f"; for the beta-TCVAE, give it in latent_kwargs={{{name!r}: {given[name]!r}}}" if elsewhere else ""
            raise ValueError(f"{name} is {given[name]!r}, but the generator and the critic take their own steps{cure}")
    monitor = given.get("early_stopping_monitor") or "elbo_validation"
    if given.get("early_stopping") and "validation" in monitor:
        raise ValueError(
            f"early_stopping would look at {monitor!r}, and a GAN has no cells for validation: give early_stopping_monitor, "
            "such as 'generator_loss', or stop by hand, as its losses need not fall while the cells get better"
        )


def check_plan_arguments(given: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Arguments of a training plan; refuse what it does not know."""
    if not isinstance(given, dict | None):
        raise ValueError(f"plan_kwargs is {given!r}; give a dictionary, whose keys may be {', '.join(known)}")
    unknown = [str(name) for name in given or {} if name not in known]
    if unknown:
        raise ValueError(f"plan_kwargs has {', '.join(unknown)}; its arguments are {', '.join(known)}")
    return given or {}


def run_training(
    model: BaseModelClass,
    plan: pl.LightningModule,
    data: CellDataModule,
    *,
    max_epochs: int,
    stage: str,
    expression: str,
    advice: str,
    accelerator: str,
    devices: int | list[int] | str,
    trainer_kwargs: dict[str, Any],
) -> None:
    """Train with scvi-tools' runner, our progress bar and a stop at losses that are no numbers, with the weights from before."""
    # The plans log epochs, and an epoch of few steps is none to warn of.
    trainer_kwargs = {"log_every_n_steps": 0} | trainer_kwargs
    trainer_kwargs.pop("simple_progress_bar", None)
    callbacks = [StopOnNonFinite(advice), *(trainer_kwargs.pop("callbacks", None) or [])]
    if trainer_kwargs.pop("enable_progress_bar", True):
        callbacks.append(StageProgressBar(stage))
    logger.info("%s on %s: %d epochs", stage, expression, max_epochs)
    runner = TrainRunner(
        model,
        training_plan=plan,
        data_splitter=data,
        max_epochs=max_epochs,
        accelerator=accelerator,
        devices=devices,
        callbacks=callbacks,
        simple_progress_bar=False,
        enable_progress_bar=any(isinstance(c, StageProgressBar) for c in callbacks),
        **trainer_kwargs,
    )
    handler = signal.getsignal(signal.SIGINT)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    # scvi-tools leaves a trained module in evaluation mode; without this, further training would keep it there.
    model.module.train()
    try:
        runner()
    except FloatingPointError:
        model.module.load_state_dict(before)
        raise
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning ends the program, and has switched off Ctrl+C for whatever comes before the end.
        signal.signal(signal.SIGINT, handler)
        if runner.trainer.current_epoch > 0:  # what was learned is kept
            model.is_trained = True
            model.to_device(runner.device)
        raise KeyboardInterrupt(f"training stopped in epoch {runner.trainer.current_epoch + 1}") from None
    finally:
        model.module.eval()


@dataclass(frozen=True)
class Schedule:
    """How a preset is trained: cells in a minibatch, passes through the cells, within the fewest and most critic steps."""

    batch_size: int
    n_epochs: int
    n_steps: tuple[float, float] = (0, math.inf)
    plan_kwargs: dict[str, Any] = field(default_factory=dict)

    def epochs(self, n_cells: int, batch_size: int) -> int:
        """Passes through ``n_cells`` in minibatches of ``batch_size``."""
        fewest, most = (epochs_for(n, n_cells, batch_size) if n < math.inf else n for n in self.n_steps)
        return min(max(self.n_epochs, fewest), most)


SCHEDULES = {
    "default": Schedule(128, n_epochs=150, n_steps=(3000, 12000)),
    "paper": Schedule(
        32,
        n_epochs=1000,
        plan_kwargs={
            "n_critic": 5,
            "lr_generator": 1e-4,
            "lr_critic": 1e-4,
            "betas": (0.0, 0.9),
            "prediction_step": True,
        },
    ),
}
