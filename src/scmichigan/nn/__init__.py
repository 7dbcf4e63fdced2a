"""Building blocks of the modules: networks and input transforms, without any training or data."""

from ._counts import poisson_log_normalized
from ._critic import Critic
from ._generator import ClosedFormGenerator, KernelBasis
from ._inputs import encode_covariates, log_normalize, n_covariate_columns
from ._mlp import MLP

__all__ = [
    "MLP",
    "ClosedFormGenerator",
    "Critic",
    "KernelBasis",
    "encode_covariates",
    "log_normalize",
    "n_covariate_columns",
    "poisson_log_normalized",
]
