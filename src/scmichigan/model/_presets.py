"""Settings of the GAN by name: ours, and the published ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from scmichigan._checks import check_choice
from scmichigan.module import MichiGANModule

from ._common import epochs_for

_CELLS_PER_CENTRE = 15
_N_CENTRES = 100
_FROM_CELLS = (
    "n_input",
    "n_latent",
    "n_batch",
    "n_cats_per_cov",
    "n_continuous_cov",
    "counts",
    "n_proteins",
    "target_sum",
    "sums_to_total",
)
_CHOICES = {
    "observation": ("poisson", "log_normalized"),
    "loss": ("relativistic", "wgan-gp"),
    "generator_norm": ("batch", "layer", None),
    "critic_norm": ("batch", "layer", None),
    "output_activation": ("relu", "softplus", None),
}
_RANGES = {
    "dropout": (lambda p: _is_number(p) and 0 <= p < 1, "at least 0 and below 1"),
    "average_decay": (
        lambda decay: decay is None or (_is_number(decay) and 0 <= decay < 1),
        "at least 0 and below 1, or None for no average",
    ),
    "penalty_weight": (
        lambda weight: weight is None or (_is_number(weight) and 0 <= weight < math.inf),
        "finite and at least 0, or None for the loss's own",
    ),
    "information_weight": (lambda weight: _is_number(weight) and 0 <= weight < math.inf, "finite and at least 0"),
    "thinning": (lambda share: _is_number(share) and 0 < share <= 1, "above 0 and at most 1"),
    **dict.fromkeys(
        ("n_noise", "critic_components", "n_centres"),
        (lambda n: isinstance(n, Integral) and n >= 0, "a whole number, at least 0"),
    ),
    **dict.fromkeys(
        ("generator_hidden", "critic_hidden"),
        (
            lambda sizes: (
                isinstance(sizes, Sequence) and len(sizes) > 0 and all(isinstance(n, Integral) and n > 0 for n in sizes)
            ),
            "a sequence of one whole number or more, each above 0, such as (256, 512)",
        ),
    ),
    **dict.fromkeys(
        ("closed_form_start", "scale_inputs"), (lambda flag: isinstance(flag, bool | np.bool_), "True or False")
    ),
}
_PAPER = {
    "observation": "log_normalized",
    "loss": "wgan-gp",
    "generator_hidden": (256, 512, 1024),
    "critic_hidden": (1024, 512, 10),
    "critic_components": 0,
    "generator_norm": "batch",
    "critic_norm": "batch",
    "dropout": 0.2,
    "closed_form_start": False,
    "scale_inputs": False,
    "average_decay": None,
    "thinning": 1.0,
    "output_activation": None,
}


@dataclass(frozen=True)
class Row:
    """What makes one GAN of the family; see the module's arguments of the same names.

    Parameters
    ----------
    latent, critic_head, information
        As in :class:`~scmichigan.module.MichiGANModule`.
    n_noise
        Noise beside the latent where it is not for the user to choose.
    """

    latent: Literal["stored", "prior"]
    critic_head: Literal["projection", "concatenation"] | None
    information: Literal["generated", "both"] | None = None
    n_noise: int | None = None

    def settings(self) -> dict[str, Any]:
        """Arguments of the module that are fixed."""
        fixed = {"latent": self.latent, "critic_head": self.critic_head, "information": self.information}
        if self.n_noise is not None:
            fixed["n_noise"] = self.n_noise
        if self.latent == "prior":  # no latent of a cell, no closed form of its expression
            fixed |= {"closed_form_start": False, "n_centres": 0}
        return fixed


@dataclass(frozen=True)
class Schedule:
    """How long and how a preset is trained.

    Parameters
    ----------
    batch_size
        Cells in a minibatch.
    n_epochs
        Passes through the cells.
    n_steps
        Fewest and most critic steps of so many passes.
    plan_kwargs
        Arguments of the training plan that differ from its defaults.
    """

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


def module_settings(
    row: Row, preset: str, given: dict[str, Any], *, of_model: Sequence[str], counts: bool, n_cells: int
) -> dict[str, Any]:
    """Arguments of the module: those of the preset and, over them, those given; not those of the row.

    ``of_model`` names the arguments that the model has itself, for the message of an unknown one.

    Raises
    ------
    ValueError
        If one is unknown, not one of its choices, out of range, without effect, or asks for counts where there are none.
    """
    check_choice("preset", preset, tuple(SCHEDULES))
    fixed = row.settings()
    hidden = (*_FROM_CELLS, *fixed, *(() if row.information else ("information_weight",)))
    of_module = inspect.signature(MichiGANModule).parameters
    known = [name for name in of_module if name not in hidden]
    unknown = [name for name in given if name not in known]
    if unknown:
        choices = ", ".join([*of_model, *known])
        raise ValueError(f"this GAN does not know {', '.join(unknown)}; its arguments are {choices}")
    settings = (
        {"observation": "poisson" if counts else "log_normalized"} | (_PAPER if preset == "paper" else {}) | given
    )
    for name, choices in _CHOICES.items():
        if name in settings:
            check_choice(name, settings[name], choices)
    for name, (accepts, range_) in _RANGES.items():
        if name in settings and not accepts(settings[name]):
            raise ValueError(f"{name} is {settings[name]!r}; it must be {range_}")
    makes_counts = settings["observation"] == "poisson"
    if makes_counts and not counts:
        raise ValueError(
            "observation is 'poisson', but log-normalised expression is registered; register raw counts with "
            "setup_anndata(layer=...), or leave observation out"
        )
    for name, nothing in ({"output_activation": None} if makes_counts else {"n_centres": 0, "thinning": 1}).items():
        if given.get(name, nothing) not in (nothing, of_module[name].default):
            raise ValueError(
                f"{name} is {given[name]!r}, but has no effect where observation is {settings['observation']!r}; leave {name} out"
            )
    if makes_counts:
        n_centres = min(_N_CENTRES, n_cells // _CELLS_PER_CENTRE)
        settings = {"n_centres": n_centres if n_centres > 1 else 0} | settings
    return {name: value for name, value in settings.items() if name not in fixed}


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
