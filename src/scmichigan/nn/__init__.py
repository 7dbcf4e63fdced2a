"""Networks, and transforms of their inputs and outputs."""

from ._critic import Critic
from ._generator import ClosedFormGenerator, KernelBasis
from ._inputs import encode_covariates, log_normalize, poisson_log_normalized
from ._mlp import MLP

__all__ = [
    "MLP",
    "ClosedFormGenerator",
    "Critic",
    "KernelBasis",
    "encode_covariates",
    "log_normalize",
    "poisson_log_normalized",
]
