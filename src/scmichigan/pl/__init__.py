"""Plots; each returns its figure with ``show=False``."""

from ._comparison import prediction, real_vs_generated
from ._information import mutual_information
from ._latents import latents
from ._realism import realism
from ._training import training

__all__ = ["latents", "mutual_information", "prediction", "real_vs_generated", "realism", "training"]
