"""scvi-tools modules: tensors in, tensors out, no AnnData."""

from ._beta_tcvae import BetaTCVAEModule
from ._fitted import FittedModule
from ._michigan import MichiGANModule

__all__ = ["BetaTCVAEModule", "FittedModule", "MichiGANModule"]
