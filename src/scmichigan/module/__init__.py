"""scvi-tools modules: tensors in, tensors out, no AnnData."""

from ._beta_tcvae import BetaTCVAEModule
from ._michigan import MichiGANModule

__all__ = ["BetaTCVAEModule", "MichiGANModule"]
