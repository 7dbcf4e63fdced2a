"""Plots; each returns its figure with ``show=False``."""

from ._comparison import prediction, real_vs_generated
from ._latents import latents
from ._traversal import traversal

__all__ = ["latents", "prediction", "real_vs_generated", "traversal"]
