"""The one adversarial training plan."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from scvi.module.base import BaseModuleClass


class AdversarialTrainingPlan(pl.LightningModule):
    """Alternates critic and generator steps by hand.

    Every minibatch gives one critic step; every ``n_critic``-th also gives a generator step, after which the moving
    average of the generator's weights follows.

    Parameters
    ----------
    module
        A module whose ``loss`` takes ``player="critic"`` or ``"generator"`` and which has ``generator``, ``critic``
        and ``update_average``.
    n_critic
        Critic steps for each generator step (5 in the paper; 2 are enough after a closed-form start).
    lr_generator, lr_critic
        Learning rates of Adam.
    betas
        Adam's decay rates; WGAN-GP wants no momentum (Gulrajani et al. 2017, Algorithm 1).
    """

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        n_critic: int = 2,
        lr_generator: float = 5e-4,
        lr_critic: float = 2e-3,
        betas: tuple[float, float] = (0.0, 0.9),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.module = module
        self.n_critic = n_critic
        self.lr_generator = lr_generator
        self.lr_critic = lr_critic
        self.betas = betas
        self.n_critic_steps = 0

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator and for the critic, in this order."""
        players = ((self.module.generator, self.lr_generator), (self.module.critic, self.lr_critic))
        return [torch.optim.Adam(net.parameters(), lr=lr, betas=self.betas, fused=True) for net, lr in players]

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One critic step and, when it is due, one generator step."""
        optimizer_generator, optimizer_critic = self.optimizers()
        module, n_cells = self.module, len(next(iter(batch.values())))
        inference = module.inference(**module._get_inference_input(batch))

        with torch.no_grad():
            fake = module.generative(inference["condition"])
        output = module.loss(batch, inference, fake, player="critic")
        optimizer_critic.zero_grad()
        self.manual_backward(output.loss)
        optimizer_critic.step()
        self._log(output.extra_metrics, n_cells)
        self.n_critic_steps += 1
        if self.n_critic_steps % self.n_critic:
            return output.loss.detach()

        module.critic.requires_grad_(False)
        fake = module.generative(inference["condition"])
        generator_output = module.loss(batch, inference, fake, player="generator")
        optimizer_generator.zero_grad()
        self.manual_backward(generator_output.loss)
        optimizer_generator.step()
        module.critic.requires_grad_(True)
        module.update_average()
        self._log(generator_output.extra_metrics, n_cells)
        return output.loss.detach() + generator_output.loss.detach()

    def _log(self, metrics: dict[str, torch.Tensor], n_cells: int) -> None:
        self.log_dict(
            {name: value.detach() for name, value in metrics.items()},
            on_step=False,
            on_epoch=True,
            batch_size=n_cells,
            prog_bar=True,
        )
