"""Losses as pure functions of tensors, and the table of adversarial losses."""

from ._adversarial import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    code_error,
    relativistic_critic_loss,
    relativistic_generator_loss,
    unit_slope_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
    zero_slope_penalty,
)
from ._total_correlation import TotalCorrelationParts, stratified_log_weights, total_correlation_parts

__all__ = [
    "ADVERSARIAL_LOSSES",
    "AdversarialLoss",
    "TotalCorrelationParts",
    "code_error",
    "relativistic_critic_loss",
    "relativistic_generator_loss",
    "stratified_log_weights",
    "total_correlation_parts",
    "unit_slope_penalty",
    "wasserstein_critic_loss",
    "wasserstein_generator_loss",
    "zero_slope_penalty",
]
