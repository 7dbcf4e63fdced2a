"""Predictions of combinations of labels that no cell was seen with: by arithmetic on cells, without a network."""

from ._arithmetic import find_references, observed_combinations
from ._confidence import is_predictable
from ._methods import METHODS, Method
from ._predictor import Latents, Predictor

__all__ = [
    "METHODS",
    "Latents",
    "Method",
    "Predictor",
    "find_references",
    "is_predictable",
    "observed_combinations",
]
