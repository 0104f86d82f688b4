"""Networks: VGG-16, ResNet-18 and a vision transformer at any width, the defended head, and `defend` for any classifier."""

from groundglass.models.architectures import ARCHITECTURES
from groundglass.models.block import OpticalBlock
from groundglass.models.classifier import Classifier
from groundglass.models.defended import Defended, DefendedNetwork, View, defend, devices_of
from groundglass.models.ensemble import DefendedEnsemble, MemberRules, check_one_layer
from groundglass.models.files import load_defended, read_spec, save_defended, save_model
from groundglass.models.head import Head
from groundglass.models.named import load_model
from groundglass.models.predict import accuracy, predict_logits
from groundglass.models.resnet import resnet18
from groundglass.models.shared_features import ensemble_on
from groundglass.models.spec import ModelSpec, build
from groundglass.models.transformer import vit
from groundglass.models.vgg import vgg16

__all__ = [
    "ARCHITECTURES",
    "Classifier",
    "Defended",
    "DefendedEnsemble",
    "DefendedNetwork",
    "Head",
    "MemberRules",
    "ModelSpec",
    "OpticalBlock",
    "View",
    "accuracy",
    "build",
    "check_one_layer",
    "defend",
    "devices_of",
    "ensemble_on",
    "load_defended",
    "load_model",
    "predict_logits",
    "read_spec",
    "resnet18",
    "save_defended",
    "save_model",
    "vgg16",
    "vit",
]
