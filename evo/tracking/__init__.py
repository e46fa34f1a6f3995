"""What a search tells other programs while it runs: TensorBoard and MLflow. Each needs a package of its own."""

from evo.tracking.base import Tracker, Tracking
from evo.tracking.mlflow_tracker import MLflow
from evo.tracking.tensorboard_tracker import TensorBoard

__all__ = ["MLflow", "TensorBoard", "Tracker", "Tracking"]
