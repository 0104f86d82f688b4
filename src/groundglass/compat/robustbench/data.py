"""`from groundglass.compat.robustbench.data import load_cifar10`."""

from pathlib import Path
from typing import Any

from torch import Tensor

from groundglass.compat.calls import refuse
from groundglass.compat.local_images import pictures
from groundglass.compat.missing import missing

__all__ = ["load_cifar10", "load_cifar100"]


def load_cifar10(
    n_examples: int | None = None, data_dir: Path | str = "./data", transforms_test: Any = None
) -> tuple[Tensor, Tensor]:
    """The first test images of CIFAR-10, [n, 3, 32, 32] in [0, 1], and their labels.

    Args:
        data_dir: the folder that holds `cifar-10-batches-bin`; if there is no such folder, `GROUNDGLASS_DATA` or the cache.

    Raises:
        FileNotFoundError: they are not there; says what to put where.
    """
    return _cifar("cifar10", n_examples, data_dir, transforms_test)


def load_cifar100(
    n_examples: int | None = None, data_dir: Path | str = "./data", transforms_test: Any = None
) -> tuple[Tensor, Tensor]:
    """The same of CIFAR-100."""
    return _cifar("cifar100", n_examples, data_dir, transforms_test)


def _cifar(name: str, count: int | None, folder: Path | str, transforms: Any) -> tuple[Tensor, Tensor]:
    refuse("RobustBench", transforms_test=(transforms, None, "put what it does in front of the model"))
    return pictures(name, count, folder)


__getattr__ = missing(__name__, "robustbench.data", __all__)
