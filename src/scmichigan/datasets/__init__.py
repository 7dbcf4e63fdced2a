"""Simulated data with known factors, and the real data sets of the paper, as AnnData."""

from ._pancreas import pancreas
from ._prosstt import prosstt
from ._recipes import scanpy_recipe, scvelo_recipe
from ._sciplex import sciplex
from ._screen import screen
from ._splatter import splatter
from ._splatter_estimate import estimate_splatter
from ._splatter_parameters import SplatterParameters
from ._tabula_muris import tabula_muris, tabula_muris_heart

__all__ = [
    "SplatterParameters",
    "estimate_splatter",
    "pancreas",
    "prosstt",
    "scanpy_recipe",
    "sciplex",
    "screen",
    "scvelo_recipe",
    "splatter",
    "tabula_muris",
    "tabula_muris_heart",
]
