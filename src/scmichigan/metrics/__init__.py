"""Numbers that say how good generated or predicted cells are, and the plain predictions to show beside them."""

from ._information import mutual_information, mutual_information_gap
from ._prediction import additive, mean_change_correlation, no_change, split_half
from ._realism import e_distance, random_forest_error

__all__ = [
    "additive",
    "e_distance",
    "mean_change_correlation",
    "mutual_information",
    "mutual_information_gap",
    "no_change",
    "random_forest_error",
    "split_half",
]
