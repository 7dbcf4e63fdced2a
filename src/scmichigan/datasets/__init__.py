"""Simulated data with known factors, as AnnData."""

from ._prosstt import prosstt
from ._screen import screen
from ._splatter import splatter
from ._splatter_estimate import estimate_splatter
from ._splatter_parameters import SplatterParameters

__all__ = ["SplatterParameters", "estimate_splatter", "prosstt", "screen", "splatter"]
