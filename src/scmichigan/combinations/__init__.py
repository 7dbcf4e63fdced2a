"""Predictions of combinations of labels that no cell was seen with: by arithmetic on cells, without a network."""

from ._arithmetic import find_references, observed_combinations
from ._benchmark import benchmark_predictions, hide
from ._combination_predictor import CombinationPredictor
from ._confidence import is_predictable
from ._methods import METHODS, Method
from ._predictor import Latents, Predictor
from ._transfer import sample_evenly

__all__ = [
    "METHODS",
    "CombinationPredictor",
    "Latents",
    "Method",
    "Predictor",
    "benchmark_predictions",
    "find_references",
    "hide",
    "is_predictable",
    "observed_combinations",
    "sample_evenly",
]
