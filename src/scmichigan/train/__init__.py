"""Training plans, minibatches from memory, and callbacks."""

from ._adversarial import AdversarialTrainingPlan
from ._callbacks import LogSometimes, StageProgressBar, StopOnNonFinite
from ._data import MINIBATCHES_AT_ONCE, CellDataModule
from ._elbo import ElboTrainingPlan
from ._runs import (
    SCHEDULES,
    Schedule,
    check_arguments_of_players,
    check_epochs,
    check_plan_arguments,
    check_trainer_arguments,
    epochs_for,
    own_arguments,
    run_training,
)

__all__ = [
    "MINIBATCHES_AT_ONCE",
    "AdversarialTrainingPlan",
    "CellDataModule",
    "ElboTrainingPlan",
    "SCHEDULES",
    "LogSometimes",
    "Schedule",
    "StageProgressBar",
    "StopOnNonFinite",
    "check_arguments_of_players",
    "check_epochs",
    "check_plan_arguments",
    "check_trainer_arguments",
    "epochs_for",
    "own_arguments",
    "run_training",
]
