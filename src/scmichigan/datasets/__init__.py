"""Simulated data with known factors, as AnnData."""

from ._screen import screen

__all__ = ["screen"]
