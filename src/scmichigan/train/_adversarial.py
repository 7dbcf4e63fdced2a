"""The one adversarial training plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from scvi.module.base import BaseModuleClass


class AdversarialTrainingPlan(pl.LightningModule):
    """Alternates critic and generator steps by hand.

    Every minibatch gives one critic step; every ``n_critic``-th also gives a generator step with the same generated
    cells, after which the moving average of the generator's weights follows.

    Parameters
    ----------
    module
        A module whose ``loss`` takes ``player="critic"`` or ``"generator"`` and which has ``generator``, ``critic``
        and ``update_average``.
    n_critic
        Critic steps for each generator step (5 in the paper).
    lr_generator, lr_critic
        Learning rates of Adam.
    betas
        Adam's decay rates; no momentum (Gulrajani et al. 2017, Algorithm 1).
    prediction_step
        Whether the critic is trained against the generator that one more step like the last would make (Yadav et al.
        2018, "Stabilizing adversarial nets with prediction methods"; the paper's way).
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
        self.automatic_optimization = False
        self.module = module
        self.n_critic = n_critic
        self.lr_generator = lr_generator
        self.lr_critic = lr_critic
        self.betas = betas
        self.n_critic_steps = 0
        self.last_step: list[torch.Tensor] | None = None
        self.prediction_step = prediction_step

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and for the critic, in this order."""
        players = ((self.module.generator, self.lr_generator), (self.module.critic, self.lr_critic))
        return [torch.optim.Adam(net.parameters(), lr=lr, betas=self.betas, fused=True) for net, lr in players]

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One critic step and, when it is due, one generator step."""
        optimizer_generator, optimizer_critic = self.optimizers()
        module, n_cells = self.module, len(next(iter(batch.values())))
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
        self._log(output.extra_metrics, n_cells)
        if not generator_is_due:
            return output.loss.detach()

        module.critic.requires_grad_(False)
        if not shared:
            fake = module.generative(**inputs)
        generator_output = module.loss(batch, inference, fake, player="generator")
        optimizer_generator.zero_grad()
        self.manual_backward(generator_output.loss)
        before = [p.detach().clone() for p in module.generator.parameters()] if self.prediction_step else None
        optimizer_generator.step()
        if before is not None:
            self.last_step = [p.detach() - b for p, b in zip(module.generator.parameters(), before, strict=True)]
        module.critic.requires_grad_(True)
        module.update_average()
        self._log(generator_output.extra_metrics, n_cells)
        return output.loss.detach() + generator_output.loss.detach()

    @contextmanager
    def _extrapolated(self) -> Iterator[None]:
        """Take the generator's last step once more, and back."""
        if self.last_step is None:
            yield
            return
        parameters = list(self.module.generator.parameters())
        with torch.no_grad():
            torch._foreach_add_(parameters, self.last_step)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_sub_(parameters, self.last_step)

    def _log(self, metrics: dict[str, torch.Tensor], n_cells: int) -> None:
        self.log_dict(
            {name: value.detach() for name, value in metrics.items()},
            on_step=False,
            on_epoch=True,
            batch_size=n_cells,
            prog_bar=True,
        )
