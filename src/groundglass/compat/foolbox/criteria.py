"""foolbox's criteria: what counts as fooled."""

from typing import Any


class Misclassification:
    """Any other class than these labels."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels


class TargetedMisclassification:
    """These classes."""

    def __init__(self, target_classes: Any) -> None:
        self.target_classes = target_classes
