"""`art.estimators`: classifiers."""

from groundglass.compat.art.estimators import classification

__all__ = ["classification"]
