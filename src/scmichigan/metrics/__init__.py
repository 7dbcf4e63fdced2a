"""Numbers that say how good generated or predicted cells and disentangled latents are, and what to show beside them."""

from ._correlation import spearman_correlation, spearman_gap
from ._information import mutual_information, mutual_information_gap
from ._predictability import DCI, dci, sap
from ._prediction import additive, mean_change_correlation, no_change, split_half
from ._realism import e_distance, random_forest_error
from ._total_correlation import total_correlation
from ._votes import beta_vae_score, factor_vae_score

__all__ = [
    "DCI",
    "additive",
    "beta_vae_score",
    "dci",
    "e_distance",
    "factor_vae_score",
    "mean_change_correlation",
    "mutual_information",
    "mutual_information_gap",
    "no_change",
    "random_forest_error",
    "sap",
    "spearman_correlation",
    "spearman_gap",
    "split_half",
    "total_correlation",
]
