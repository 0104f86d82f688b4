"""Networks: VGG-16 at any width, the defended head, and `defend` for any classifier."""

from groundglass.models.classifier import Classifier
from groundglass.models.defended import DefendedNetwork, OpticalBlock, View, defend
from groundglass.models.files import ModelSpec, build, load_model, read_spec, save_model
from groundglass.models.head import Head
from groundglass.models.predict import accuracy, predict_logits
from groundglass.models.vgg import vgg16

__all__ = [
    "Classifier",
    "DefendedNetwork",
    "Head",
    "ModelSpec",
    "OpticalBlock",
    "View",
    "accuracy",
    "build",
    "defend",
    "load_model",
    "predict_logits",
    "read_spec",
    "save_model",
    "vgg16",
]
