"""Numbers that say how good generated or predicted cells are, and the plain predictions to show beside them."""

from ._change import change_slope, de_direction, de_overlap, mean_change_correlation
from ._discrimination import Discrimination, discriminate, random_forest_error
from ._entropy import delta_entropy, latent_entropy
from ._factors import infer_factors
from ._inception import InceptionScore, inception_score
from ._information import mutual_information, mutual_information_gap
from ._moments import gene_agreement, gene_correlation_agreement, gene_statistics
from ._prediction import additive, additive_weighted, no_change, split_half
from ._rank import discrimination_rank
from ._realism import e_distance, frechet_distance, mmd

__all__ = [
    "Discrimination",
    "InceptionScore",
    "additive",
    "additive_weighted",
    "change_slope",
    "de_direction",
    "de_overlap",
    "delta_entropy",
    "discriminate",
    "discrimination_rank",
    "e_distance",
    "frechet_distance",
    "gene_agreement",
    "gene_correlation_agreement",
    "gene_statistics",
    "inception_score",
    "infer_factors",
    "latent_entropy",
    "mean_change_correlation",
    "mmd",
    "mutual_information",
    "mutual_information_gap",
    "no_change",
    "random_forest_error",
    "split_half",
]
