"""Where evaluations happen: in this process, in worker processes or on a cluster, behind one interface."""

from evo.evaluators.base import Evaluator, Setup, Task
from evo.evaluators.in_process import InProcessEvaluator
from evo.evaluators.objective import ObjectiveSetup
from evo.evaluators.process_pool import ProcessPoolEvaluator
from evo.evaluators.signature import takes_seed, takes_trial
from evo.evaluators.training_task import TrainingSetup

__all__ = ["Evaluator", "InProcessEvaluator", "ObjectiveSetup", "ProcessPoolEvaluator", "Setup"]
__all__ += ["Task", "TrainingSetup", "takes_seed", "takes_trial"]
