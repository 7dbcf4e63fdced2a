"""scvi-tools models: AnnData in, AnnData out."""

from ._benchmark import benchmark_predictions
from ._beta_tcvae import BetaTCVAE
from ._gmm import GMM
from ._michigan import CWGANGP, MichiGAN, SemiSupervisedInfoWGANGP
from ._ppca import PPCA
from ._prior_gans import WGANGP, InfoWGANGP

__all__ = [
    "CWGANGP",
    "GMM",
    "PPCA",
    "WGANGP",
    "BetaTCVAE",
    "InfoWGANGP",
    "MichiGAN",
    "SemiSupervisedInfoWGANGP",
    "benchmark_predictions",
]
