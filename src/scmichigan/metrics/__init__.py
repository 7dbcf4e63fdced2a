"""Metrics of generated and predicted cells and of latents, alone and in tables."""

from ._change import change_slope, de_direction, de_overlap, mean_change_correlation
from ._correlation import spearman_correlation, spearman_gap
from ._discrimination import Discrimination, discriminate, random_forest_error
from ._disentanglement_table import disentanglement, generator_disentanglement
from ._entropy import delta_entropy, latent_entropy
from ._inception import InceptionScore, inception_score
from ._inference import infer_factors
from ._information import mutual_information, mutual_information_gap
from ._moments import cross_correlation_agreement, gene_agreement, gene_correlation_agreement, gene_statistics
from ._predictability import DCI, dci, sap
from ._prediction import additive, additive_weighted, no_change, split_half
from ._prediction_table import prediction
from ._rank import discrimination_rank
from ._realism import e_distance, frechet_distance, mmd
from ._realism_table import realism
from ._registry import registry
from ._summary import summary
from ._total_correlation import total_correlation
from ._traversal import single_factor_fraction, traversal_change
from ._udr import udr_score
from ._votes import beta_vae_score, factor_vae_score

# fmt: off
__all__ = [
    "DCI", "Discrimination", "InceptionScore", "additive", "additive_weighted", "beta_vae_score", "change_slope",
    "cross_correlation_agreement", "dci", "de_direction", "de_overlap", "delta_entropy", "discriminate",
    "discrimination_rank", "disentanglement", "e_distance", "factor_vae_score", "frechet_distance", "gene_agreement",
    "gene_correlation_agreement", "gene_statistics", "generator_disentanglement", "inception_score", "infer_factors",
    "latent_entropy", "mean_change_correlation", "mmd", "mutual_information", "mutual_information_gap", "no_change",
    "prediction", "random_forest_error", "realism", "registry", "sap", "single_factor_fraction", "spearman_correlation",
    "spearman_gap", "split_half", "summary", "total_correlation", "traversal_change", "udr_score",
]
