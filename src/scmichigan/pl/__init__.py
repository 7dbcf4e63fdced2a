"""Plots; each returns its figure with ``show=False``."""

from ._comparison import prediction, real_vs_generated
from ._latents import latents
from ._predictions import changes, prediction_scores
from ._traversal import traversal

__all__ = ["changes", "latents", "prediction", "prediction_scores", "real_vs_generated", "traversal"]
