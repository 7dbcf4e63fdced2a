"""MichiGAN for scvi-tools: realistic cells from any latent."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import closed_form, datasets, losses, metrics, module, nn, pl, train
    from .model import (
        CWGANGP,
        GMM,
        PPCA,
        WGANGP,
        BetaTCVAE,
        InfoWGANGP,
        MichiGAN,
        SemiSupervisedInfoWGANGP,
        benchmark_predictions,
    )

_MODELS = (
    "BetaTCVAE",
    "CWGANGP",
    "GMM",
    "InfoWGANGP",
    "MichiGAN",
    "PPCA",
    "SemiSupervisedInfoWGANGP",
    "WGANGP",
    "benchmark_predictions",
)
_ROOMS = ("closed_form", "datasets", "losses", "metrics", "module", "nn", "pl", "train")

__all__ = [
    "GMM",
    "PPCA",
    "BetaTCVAE",
    "CWGANGP",
    "InfoWGANGP",
    "MichiGAN",
    "SemiSupervisedInfoWGANGP",
    "WGANGP",
    "benchmark_predictions",
    "closed_form",
    "datasets",
    "losses",
    "metrics",
    "module",
    "nn",
    "pl",
    "train",
]
__version__ = version("scmichigan")


def __getattr__(name: str) -> Any:
    # scvi-tools takes seconds to import, which `scmichigan --help` or a lone metric need not wait for.
    if name in _MODELS:
        return getattr(import_module("scmichigan.model"), name)
    if name in _ROOMS:
        return import_module(f"scmichigan.{name}")
    raise AttributeError(f"module 'scmichigan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
