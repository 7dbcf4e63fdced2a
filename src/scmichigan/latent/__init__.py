"""Stored latents and what can be had from them in closed form."""

from ._linear_gaussian import LinearGaussian, fit_linear_gaussian
from ._ppca import ppca_posterior

__all__ = ["LinearGaussian", "fit_linear_gaussian", "ppca_posterior"]
