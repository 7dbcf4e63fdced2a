"""What makes one GAN of the family, and the settings of its module."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from scmichigan._checks import check_choice
from scmichigan.data import refuse_covariates
from scmichigan.module import PRESETS, GANSettings

_CELLS_PER_CENTRE = 15
_N_CENTRES = 100


@dataclass(frozen=True)
class Row:
    """Settings that make one GAN of the family, which are not for the user to choose; ``n_noise`` is where it is ``None``."""

    latent: Literal["stored", "prior"]
    critic_head: Literal["projection", "concatenation"] | None
    information: Literal["generated", "both"] | None = None
    n_noise: int | None = None

    @property
    def knows_cells(self) -> bool:
        """Whether the GAN is trained with latents of cells."""
        return self.latent == "stored" or self.information == "both"

    def check_knows_cells(self, name: str) -> None:
        """Refuse latents of cells for a GAN that has no use for any."""
        if not self.knows_cells:
            raise ValueError(
                f"{name} generates cells from a prior and is not trained with latents of cells; take MichiGAN"
            )

    def check_setup(self, name: str, setup_args: Mapping[str, Any]) -> None:
        """Refuse what a GAN with a prior alone does not model."""
        if self.knows_cells:
            return
        refuse_covariates(name, setup_args)
        if setup_args.get("latent_key") is not None or setup_args.get("latent_var_key") is not None:
            self.check_knows_cells(name)

    def fixed(self) -> dict[str, Any]:
        """Settings that are fixed."""
        settings = {"latent": self.latent, "critic_head": self.critic_head, "information": self.information}
        if self.n_noise is not None:
            settings["n_noise"] = self.n_noise
        if self.latent == "prior":  # no latent of a cell, no closed form of its expression
            settings |= {"closed_form_start": False, "n_centres": 0}
        return settings

    def choices(self) -> list[str]:
        """Names of the settings that the user can choose."""
        not_for_users = {*self.fixed(), *(() if self.information else ("information_weight",))}
        return [setting.name for setting in fields(GANSettings) if setting.name not in not_for_users]

    def chosen(self, settings: GANSettings) -> dict[str, Any]:
        """Values of those, with which the same module can be made again."""
        return {name: getattr(settings, name) for name in self.choices()}


def module_settings(
    row: Row, preset: str, given: dict[str, Any], *, of_model: Sequence[str], counts: bool, n_cells: int
) -> GANSettings:
    """Settings of the module: those of the row; over those of the preset, those that are given.

    ``of_model`` names the arguments that the model has itself, for the message of an unknown one.

    Raises
    ------
    ValueError
        If one is unknown, not one of its choices, out of range, without effect, or asks for counts where there are none.
    """
    check_choice("preset", preset, tuple(PRESETS))
    known = row.choices()
    unknown = [name for name in given if name not in known]
    if unknown:
        choices = ", ".join([*of_model, *known])
        raise ValueError(f"this GAN does not know {', '.join(unknown)}; its arguments are {choices}")
    by_default = {"observation": "poisson"} if counts else {}
    settings = GANSettings(**(by_default | PRESETS[preset] | given | row.fixed()))
    if settings.makes_counts and not counts:
        raise ValueError(
            "observation is 'poisson', but log-normalised expression is registered; register raw counts with "
            "setup_anndata(layer=...), or leave observation out"
        )
    without_effect = {"output_activation": None} if settings.makes_counts else {"n_centres": 0, "thinning": 1}
    for name, nothing in without_effect.items():
        if given.get(name, nothing) not in (nothing, getattr(GANSettings, name)):
            raise ValueError(
                f"{name} is {given[name]!r}, but has no effect where observation is {settings.observation!r}; leave {name} out"
            )
    if settings.makes_counts and "n_centres" not in given | row.fixed():
        n_centres = min(_N_CENTRES, n_cells // _CELLS_PER_CENTRE)
        settings = replace(settings, n_centres=n_centres if n_centres > 1 else 0)
    return settings
