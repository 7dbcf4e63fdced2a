"""Loss terms as pure functions of tensors."""

from ._total_correlation import TotalCorrelationParts, stratified_log_weights, total_correlation_parts
from ._wasserstein import critic_loss, generator_loss, gradient_penalty

__all__ = [
    "TotalCorrelationParts",
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "stratified_log_weights",
    "total_correlation_parts",
]
