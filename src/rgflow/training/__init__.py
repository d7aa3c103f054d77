"""Learning a flow from images."""

from rgflow.training.trainer import TrainingResult, train

__all__ = ["TrainingResult", "train"]
