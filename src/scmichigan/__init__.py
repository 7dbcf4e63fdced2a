"""MichiGAN for scvi-tools: realistic cells from any latent."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import closed_form, combinations, datasets, losses, metrics, module, nn, pl, train
    from .combinations import CombinationPredictor, benchmark_predictions
    from .model import (
        CWGANGP,
        GMM,
        PPCA,
        WGANGP,
        BetaTCVAE,
        InfoWGANGP,
        MichiGAN,
        SemiSupervisedInfoWGANGP,
    )

_NAMES = {
    "combinations": ("CombinationPredictor", "benchmark_predictions"),
    "model": ("BetaTCVAE", "CWGANGP", "GMM", "InfoWGANGP", "MichiGAN", "PPCA", "SemiSupervisedInfoWGANGP", "WGANGP"),
}
_ROOMS = ("closed_form", "combinations", "datasets", "losses", "metrics", "module", "nn", "pl", "train")

__all__ = [*_ROOMS, *(name for names in _NAMES.values() for name in names)]
__version__ = version("scmichigan")


def __getattr__(name: str) -> Any:
    # scvi-tools takes seconds to import, which `scmichigan --help` or a lone metric need not wait for.
    for room, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"scmichigan.{room}"), name)
    if name in _ROOMS:
        return import_module(f"scmichigan.{name}")
    raise AttributeError(f"module 'scmichigan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
