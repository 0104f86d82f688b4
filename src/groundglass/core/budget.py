"""The error of whoever asks more often than they may."""


class BudgetExceededError(RuntimeError):
    """More was asked for than a budget allows, of a model or of a device; none of it was passed on."""
