"""Loss terms as pure functions of tensors."""

from ._adversarial import (
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
