"""How long and how the GANs are trained, by the name of a preset."""

import math
from dataclasses import dataclass, field
from typing import Any

from ._runs import epochs_for


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
