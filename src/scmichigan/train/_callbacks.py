"""Callbacks: progress by stage, losses that are no longer finite, and measurements during training."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from tqdm.auto import tqdm


class StageProgressBar(ProgressBar):
    """One bar over the epochs of a run, with the name of its stage, for example ``"stage 1 of 2: beta-TCVAE"``."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage
        self.enabled = True
        self.bar: tqdm | None = None

    def disable(self) -> None:
        """Show nothing, on all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self.bar = tqdm(total=trainer.max_epochs, desc=self.stage, unit="epoch", disable=not self.enabled)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance, and show the newest metrics."""
        self.bar.update()
        self.bar.set_postfix(self.get_metrics(trainer, pl_module))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Metrics of the bar, without Lightning's version number."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar where it stopped."""
        if self.bar is not None:
            self.bar.close()


class StopOnNonFinite(Callback):
    """Stops training at the first loss that is NaN or infinite; the error ends with ``advice``."""

    def __init__(self, advice: str) -> None:
        super().__init__()
        self.advice = advice

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of the step just taken."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss of {type(pl_module.module).__name__} became {loss.item()} in epoch "
                f"{trainer.current_epoch + 1} of {trainer.max_epochs}; {self.advice}"
            )


class LogSometimes(Callback):
    """Logs the numbers of ``measure``, with the module in evaluation mode, after each ``every`` epochs and the last."""

    def __init__(self, measure: Callable[[], dict[str, float]], *, every: int) -> None:
        super().__init__()
        self.measure = measure
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure and log where it is due."""
        n_done = trainer.current_epoch + 1
        if n_done % self.every and n_done != trainer.max_epochs:
            return
        pl_module.module.eval()
        pl_module.log_dict(self.measure())
        pl_module.module.train()
