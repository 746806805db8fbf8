"""Retraining as ground truth: what really happens when training examples are left out.

Scores of influence predict what a model would do had it not trained on an example. These functions
leave examples out and train again, through the one loop of `auditkit.training`:

- `leave_one_out` and `group_influence`: the change of each query's measure without an example, or
  without a group of them.
- `half_subsets` and `lds`: many trainings on random halves, how well scores predict them, and
  how well they could (`ceiling`).
- `calibrate`: the engine's rise and damping, by predicted against actual change.

Retrainings are the whole cost. Each is written to a folder as soon as it is finished, if there is
one, and none that is there is done again.
"""

from auditkit.truth.calibration import Calibration, Cell, Scorer, calibrate
from auditkit.truth.prediction import LDS, ceiling, lds
from auditkit.truth.removal import Removals, group_influence, leave_one_out
from auditkit.truth.retraining import MOST_EPOCHS, Retraining, epochs_needed, retrain
from auditkit.truth.subsets import Halves, half_subsets

__all__ = [
    "LDS",
    "MOST_EPOCHS",
    "Calibration",
    "Cell",
    "Halves",
    "Removals",
    "Retraining",
    "Scorer",
    "calibrate",
    "ceiling",
    "epochs_needed",
    "group_influence",
    "half_subsets",
    "lds",
    "leave_one_out",
    "retrain",
]
