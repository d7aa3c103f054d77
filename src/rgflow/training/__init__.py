"""Learning a flow from images."""

from rgflow.training.loop import TrainingResult, train

__all__ = ["TrainingResult", "train"]
