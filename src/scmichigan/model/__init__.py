"""scvi-tools models: AnnData in, AnnData out."""

from ._beta_tcvae import BetaTCVAE
from ._gmm import GMM
from ._michigan import CWGANGP, WGANGP, InfoWGANGP, MichiGAN, SemiSupervisedInfoWGANGP
from ._ppca import PPCA

__all__ = [
    "CWGANGP",
    "GMM",
    "PPCA",
    "WGANGP",
    "BetaTCVAE",
    "InfoWGANGP",
    "MichiGAN",
    "SemiSupervisedInfoWGANGP",
]
