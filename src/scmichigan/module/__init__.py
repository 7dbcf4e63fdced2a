"""scvi-tools modules: tensors in, tensors out, no AnnData."""

from ._beta_tcvae import BetaTCVAEModule
from ._count_tcvae import CountTCVAEModule
from ._expression import CellFormat, ExpressionInputs
from ._fitted import FittedModule
from ._michigan import MichiGANModule
from ._settings import PRESETS, GANSettings

__all__ = [
    "PRESETS",
    "BetaTCVAEModule",
    "CellFormat",
    "CountTCVAEModule",
    "ExpressionInputs",
    "FittedModule",
    "GANSettings",
    "MichiGANModule",
]
