"""scvi-tools models: AnnData in, AnnData out."""

from ._benchmark import benchmark_predictions
from ._beta_tcvae import BetaTCVAE
from ._gmm import GMM
from ._michigan import MichiGAN
from ._ppca import PPCA

__all__ = ["GMM", "PPCA", "BetaTCVAE", "MichiGAN", "benchmark_predictions"]
