"""Training: the adversarial plan, the data in memory, and what watches a run."""

from ._adversarial import AdversarialTrainingPlan
from ._callbacks import LogSometimes, StageProgressBar, StopOnNonFinite
from ._data import CellDataModule

__all__ = ["AdversarialTrainingPlan", "CellDataModule", "LogSometimes", "StageProgressBar", "StopOnNonFinite"]
