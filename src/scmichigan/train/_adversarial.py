"""Training plan of the GANs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real

import lightning.pytorch as pl
import torch
from scvi.module.base import BaseModuleClass

from ._data import minibatches_of


class AdversarialTrainingPlan(pl.LightningModule):
    """Alternates steps of the critic and of the generator.

    Every minibatch gives one critic step. Every ``n_critic``-th also gives a generator step with the same generated
    cells, and updates the moving average of the generator's weights. Minibatches can be stacked in a first dimension
    (``CellDataModule(n_at_once=...)``), which saves time between steps.

    Parameters
    ----------
    module
        A module whose ``loss`` takes ``player="critic"`` or ``"generator"`` and which has ``generator``, ``critic``,
        ``augment`` and ``update_average``.
    n_critic
        Critic steps for each generator step (5 in the paper).
    lr_generator, lr_critic, betas
        Learning rates and decay rates of Adam, without momentum (Gulrajani et al. 2017, Algorithm 1).
    prediction_step
        Whether the critic is trained against the generator that one more step like the last would make (Yadav et al.
        2018, "Stabilizing adversarial nets with prediction methods"; the paper's way).

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        n_critic: int = 1,
        lr_generator: float = 2e-4,
        lr_critic: float = 5e-4,
        betas: tuple[float, float] = (0.0, 0.99),
        prediction_step: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(n_critic, Integral) or n_critic < 1:
            raise ValueError(f"n_critic is {n_critic!r}; it must be a whole number, 1 or more")
        for name, value in {"lr_generator": lr_generator, "lr_critic": lr_critic}.items():
            if not isinstance(value, Real) or not value >= 0:
                raise ValueError(f"{name} is {value!r}; it must be a number, 0 or more, for example 2e-4")
        if not isinstance(betas, Sequence) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas is {betas!r}; give two numbers from 0 to below 1, for example (0.0, 0.99)")
        self.automatic_optimization = False
        self.module = module
        self.n_critic = n_critic
        self.lr_generator = lr_generator
        self.lr_critic = lr_critic
        self.betas = betas
        self.n_critic_steps = 0
        self.prediction_step = prediction_step
        self.extrapolated: list[torch.Tensor] | None = None
        self.recorded: dict[str, list[torch.Tensor]] = {}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and for the critic, in this order."""
        players = ((self.module.generator, self.lr_generator), (self.module.critic, self.lr_critic))
        return [torch.optim.Adam(net.parameters(), lr=lr, betas=self.betas, fused=True) for net, lr in players]

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One critic step for each minibatch, and a generator step whenever it is due."""
        loss = sum(map(self._minibatch, minibatches_of(batch)))
        if self.trainer.is_last_batch:
            self._log_means()
        return loss

    def _minibatch(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        optimizer_generator, optimizer_critic = self.optimizers()
        module = self.module
        batch = module.augment(batch)
        inference = module.inference(**module._get_inference_input(batch))
        inputs = module._get_generative_input(batch, inference)
        self.n_critic_steps += 1
        generator_is_due = self.n_critic_steps % self.n_critic == 0
        shared = generator_is_due and not self.prediction_step
        with torch.set_grad_enabled(shared), self._extrapolated():
            fake = module.generative(**inputs)

        output = module.loss(batch, inference, fake, player="critic")
        optimizer_critic.zero_grad()
        self.manual_backward(output.loss)
        optimizer_critic.step()
        self._record(output.extra_metrics)
        loss = output.loss.detach()

        if generator_is_due:
            with self._frozen(module.critic):
                if not shared:
                    fake = module.generative(**inputs)
                output = module.loss(batch, inference, fake, player="generator")
                optimizer_generator.zero_grad()
                self.manual_backward(output.loss)
                self._step(optimizer_generator)
            module.update_average()
            self._record(output.extra_metrics)
            loss = loss + output.loss.detach()
        return loss

    def _step(self, optimizer_generator: torch.optim.Optimizer) -> None:
        """Take the generator's step, and note where one more like it would lead."""
        parameters = [p.detach() for p in self.module.generator.parameters()]
        before = [p.clone() for p in parameters] if self.prediction_step else None
        optimizer_generator.step()
        if before is not None:
            self.extrapolated = list(torch._foreach_lerp(before, parameters, 2.0))

    @staticmethod
    @contextmanager
    def _frozen(network: torch.nn.Module) -> Iterator[None]:
        """Compute no gradients of the network's weights for a while."""
        network.requires_grad_(False)
        try:
            yield
        finally:
            network.requires_grad_(True)

    @contextmanager
    def _extrapolated(self) -> Iterator[None]:
        """Give the generator the weights that one more step would, for a while."""
        if self.extrapolated is None:
            yield
            return
        parameters = list(self.module.generator.parameters())
        own = [p.data for p in parameters]
        try:
            for p, weights in zip(parameters, self.extrapolated, strict=True):
                p.data = weights
            yield
        finally:
            for p, weights in zip(parameters, own, strict=True):
                p.data = weights

    def _record(self, metrics: dict[str, torch.Tensor]) -> None:
        for name, value in metrics.items():
            self.recorded.setdefault(name, []).append(value.detach())

    def _log_means(self) -> None:
        """Log means over the epoch; Lightning would do it at every step, which takes time."""
        means = {name: torch.stack(values).mean() for name, values in self.recorded.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=1, prog_bar=True)
        self.recorded = {}
