"""Training plans, minibatches from memory, and callbacks."""

from ._adversarial import AdversarialTrainingPlan
from ._callbacks import LogSometimes, StageProgressBar, StopOnNonFinite
from ._data import MINIBATCHES_AT_ONCE, CellDataModule
from ._elbo import ElboTrainingPlan

__all__ = [
    "MINIBATCHES_AT_ONCE",
    "AdversarialTrainingPlan",
    "CellDataModule",
    "ElboTrainingPlan",
    "LogSometimes",
    "StageProgressBar",
    "StopOnNonFinite",
]
