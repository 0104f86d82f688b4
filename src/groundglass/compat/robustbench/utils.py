"""`from groundglass.compat.robustbench.utils import load_model, clean_accuracy`."""

from pathlib import Path
from typing import Any

from torch import nn

from groundglass.compat.calls import accuracy, placed, refuse
from groundglass.compat.missing import missing
from groundglass.models import load_model as _load

__all__ = ["clean_accuracy", "load_model"]


def load_model(
    model_name: str,
    model_dir: Path | str = "./models",
    dataset: Any = "cifar10",
    threat_model: Any = "Linf",
    norm: Any = None,
    custom_class_labels: Any = None,
) -> nn.Module:
    """A network of RobustBench's zoo, by `groundglass.load_model("robustbench:...")`; or any other that it knows, as
    "zoo:vgg-16" or "timm:resnet18".

    Raises:
        ValueError: an unknown name, or the library is not installed.
        FileNotFoundError: its weights cannot be downloaded; says which file to put where.
    """
    refuse("RobustBench", custom_class_labels=(custom_class_labels, None, "choose logits in a function of your own"))
    if ":" in model_name:
        return _load(model_name)
    data, threat = (str(getattr(each, "value", each)) for each in (dataset, norm or threat_model))
    return _load(f"robustbench:{data}/{threat}/{model_name}", arguments={"model_dir": str(model_dir)})


def clean_accuracy(model: Any, x: Any, y: Any, batch_size: int = 100, device: Any = None) -> float:
    """The share of images that the model puts into their class."""
    return accuracy(model, placed(model, x), placed(model, y))


__getattr__ = missing(__name__, "robustbench.utils", __all__)
