"""scvi-tools modules: tensors in, tensors out, no AnnData."""

from ._beta_tcvae import BetaTCVAEModule
from ._count_tcvae import CountTCVAEModule
from ._fitted import FittedModule
from ._michigan import MichiGANModule

__all__ = ["BetaTCVAEModule", "CountTCVAEModule", "FittedModule", "MichiGANModule"]
