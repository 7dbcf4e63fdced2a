"""MichiGAN for scvi-tools: realistic cells from any latent."""

from importlib.metadata import version

from . import datasets, losses, metrics, module, pl, train
from .model import BetaTCVAE, MichiGAN

__all__ = ["BetaTCVAE", "MichiGAN", "datasets", "losses", "metrics", "module", "pl", "train"]
__version__ = version("scmichigan")
