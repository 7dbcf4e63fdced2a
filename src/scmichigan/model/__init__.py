"""scvi-tools models: AnnData in, AnnData out."""

from ._beta_tcvae import BetaTCVAE
from ._michigan import MichiGAN

__all__ = ["BetaTCVAE", "MichiGAN"]
