"""Plots. As in scanpy, each takes ``show``, ``save`` and ``return_fig``, and ``ax`` where one axes is enough."""

from ._comparison import prediction, real_vs_generated
from ._gain import prediction_gain
from ._information import mutual_information
from ._latents import latents
from ._predictions import changes, prediction_scores
from ._realism import realism
from ._training import training
from ._traversal import traversal

__all__ = [
    "changes",
    "latents",
    "mutual_information",
    "prediction",
    "prediction_gain",
    "prediction_scores",
    "real_vs_generated",
    "realism",
    "training",
    "traversal",
]
