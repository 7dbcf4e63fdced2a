"""Stored latents and what can be had from them in closed form."""

from ._linear_gaussian import LinearGaussian, fit_linear_gaussian
from ._ppca import ProbabilisticPCA, fit_ppca, ppca_posterior

__all__ = ["LinearGaussian", "ProbabilisticPCA", "fit_linear_gaussian", "fit_ppca", "ppca_posterior"]
