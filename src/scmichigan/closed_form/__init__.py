"""Models that are fitted in closed form: arrays in, arrays out."""

from ._gaussian_mixture import fit_gaussian_mixture, mixture_responsibilities, sample_mixture
from ._linear_gaussian import LinearGaussian, fit_linear_gaussian
from ._poisson_log_normal import KernelCentres, PoissonLogNormal, fit_poisson_log_normal
from ._ppca import ProbabilisticPCA, fit_ppca

__all__ = [
    "KernelCentres",
    "LinearGaussian",
    "PoissonLogNormal",
    "ProbabilisticPCA",
    "fit_gaussian_mixture",
    "fit_linear_gaussian",
    "fit_poisson_log_normal",
    "fit_ppca",
    "mixture_responsibilities",
    "sample_mixture",
]
