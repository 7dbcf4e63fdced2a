"""Settings of the GANs."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from scmichigan._checks import check_choice
from scmichigan.losses import ADVERSARIAL_LOSSES


def _one_of(choices: Iterable[object], *, default: object) -> Any:
    """Field with one of some values."""
    return field(default=default, metadata={"check": lambda name, value: check_choice(name, value, tuple(choices))})


def _where(accepts: Callable[[Any], bool], range_: str, *, default: object) -> Any:
    """Field with a value that is accepted; ``range_`` says in words which are."""

    def check(name: str, value: object) -> None:
        if not accepts(value):
            raise ValueError(f"{name} is {value!r}; it must be {range_}")

    return field(default=default, metadata={"check": check})


def _number(accepts: Callable[[float], bool], range_: str, *, default: float | None, none: str = "") -> Any:
    """Field with a number in a range; ``None``, too, where ``none`` says in words what that means."""
    return _where(
        lambda value: (value is None and bool(none)) or (isinstance(value, Real) and accepts(value)),
        f"{range_}, or None for {none}" if none else range_,
        default=default,
    )


def _whole_number(default: int) -> Any:
    return _where(lambda n: isinstance(n, Integral) and n >= 0, "a whole number, at least 0", default=default)


def _flag(default: bool) -> Any:
    return _where(lambda flag: isinstance(flag, bool | np.bool_), "True or False", default=default)


def _widths(default: Sequence[int]) -> Any:
    return _where(
        lambda sizes: (
            isinstance(sizes, Sequence) and len(sizes) > 0 and all(isinstance(n, Integral) and n > 0 for n in sizes)
        ),
        "a sequence of one whole number or more, each above 0, such as (256, 512)",
        default=default,
    )


@dataclass(frozen=True)
class GANSettings:
    """Settings of :class:`MichiGANModule`.

    Parameters
    ----------
    latent
        ``"stored"``: cells are generated from the latents of the real cells that they are compared with. ``"prior"``: from
        standard normal latents.
    critic_head
        How the critic uses the condition, see :class:`~scmichigan.nn.Critic`.
    information
        Cells whose latents the critic's body is trained to infer, which maximises a bound of the mutual information of
        cells and latents: ``"generated"`` (InfoGAN), or ``"both"``, generated and real (semi-supervised InfoGAN).
    information_weight
        Weight of this bound in the losses of critic and generator.
    observation
        ``"poisson"``: the generator's output is the logarithm of each gene's rate; counts are sampled and log-normalised
        before the critic sees them. ``"log_normalized"``: its output is the expression.
    loss
        Row of ``scmichigan.losses.ADVERSARIAL_LOSSES``. ``"relativistic"`` compares pairs of a real and a generated
        cell of the same condition and keeps the critic's slopes at both small. ``"wgan-gp"`` is the paper's.
    penalty_weight
        Weight of the penalty on the critic's slopes; by default the loss's own, 0.5 or, for WGAN-GP, 10.
    n_noise, critic_components
        Dimensions of the generator's standard normal noise; principal components that the critic sees beside the genes.
    generator_hidden, critic_hidden
        Widths of the hidden layers.
    generator_norm, critic_norm
        Normalisation of the hidden layers; the paper has ``"batch"`` for both. In the critic it uses the statistics of the
        real cells, see :class:`~scmichigan.nn.Critic`.
    dropout
        Dropout probability of the generator's hidden layers (0.2 in the paper).
    closed_form_start, n_centres
        Whether the generator has linear parts that are fitted in closed form; centres of the basis in which they are linear.
    scale_inputs
        Whether expression and condition are brought to comparable scales before the networks see them. With
        ``closed_form_start`` the condition always is.
    average_decay
        Decay of the moving average of the generator's weights, which cells are then sampled with; ``None`` for no average.
    thinning
        Least fraction of a cell's counts that the networks see. Each time a cell is visited, a fraction from here to 1 is
        sampled, so that the critic cannot memorise single cells. 1 keeps all counts. Only where counts are made.
    output_activation
        Of log-normalised expression: ``"relu"``, ``"softplus"`` or ``None`` for the identity (the paper's).

    Raises
    ------
    ValueError
        If a value is not one of its choices, or out of range.
    """

    latent: Literal["stored", "prior"] = _one_of(("stored", "prior"), default="stored")
    critic_head: Literal["projection", "concatenation"] | None = _one_of(
        ("projection", "concatenation", None), default="projection"
    )
    information: Literal["generated", "both"] | None = _one_of(("generated", "both", None), default=None)
    information_weight: float = _number(lambda weight: 0 <= weight < math.inf, "finite and at least 0", default=1.0)
    observation: Literal["poisson", "log_normalized"] = _one_of(("poisson", "log_normalized"), default="log_normalized")
    loss: str = _one_of(ADVERSARIAL_LOSSES, default="relativistic")
    penalty_weight: float | None = _number(
        lambda weight: 0 <= weight < math.inf, "finite and at least 0", default=None, none="the loss's own"
    )
    n_noise: int = _whole_number(118)
    generator_hidden: Sequence[int] = _widths((256, 512))
    critic_hidden: Sequence[int] = _widths((512, 256, 64))
    critic_components: int = _whole_number(50)
    generator_norm: Literal["batch", "layer"] | None = _one_of(("batch", "layer", None), default="layer")
    critic_norm: Literal["batch", "layer"] | None = _one_of(("batch", "layer", None), default=None)
    dropout: float = _number(lambda p: 0 <= p < 1, "at least 0 and below 1", default=0.0)
    closed_form_start: bool = _flag(True)
    scale_inputs: bool = _flag(True)
    n_centres: int = _whole_number(0)
    average_decay: float | None = _number(
        lambda decay: 0 <= decay < 1, "at least 0 and below 1", default=0.995, none="no average"
    )
    thinning: float = _number(lambda fraction: 0 < fraction <= 1, "above 0 and at most 1", default=0.75)
    output_activation: Literal["relu", "softplus"] | None = _one_of(("relu", "softplus", None), default="relu")

    def __post_init__(self) -> None:
        for setting in fields(self):
            setting.metadata["check"](setting.name, getattr(self, setting.name))

    @property
    def makes_counts(self) -> bool:
        """Whether the generator makes counts."""
        return self.observation == "poisson"


# What differs from the defaults of GANSettings.
PRESETS = {
    "default": {},
    "paper": {
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
    },
}
