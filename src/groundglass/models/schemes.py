"""Where networks come from by name: a small class for each library. None of them is imported before it is asked for."""

import inspect
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from groundglass.core.imported import imported, library
from groundglass.core.names import lookup
from groundglass.models.preprocessing import Preprocessing

Arguments = Mapping[str, Any]

_GIVE = "give it as weights (--weights FILE)"


class Scheme(ABC):
    """A source of networks.

    Attributes:
        example: a name, as a user types it.
        unreachable: what its library raises where nothing can be downloaded.
        says: whether its networks say which preprocessing they need.
    """

    example: str
    unreachable: tuple[type[Exception], ...] = (OSError,)
    says = True

    @property
    def _asker(self) -> str:
        return f"{self.example.partition(':')[0]}:..."

    @abstractmethod
    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        """The network, with the weights that its authors have published, or with fresh ones.

        Raises:
            ValueError: the library or the name is not there; says what to do.
        """

    def preprocessing(self, network: nn.Module, name: str, arguments: Arguments) -> Preprocessing | None:
        """What it expects in front; None where nothing is needed, or known (`says`)."""
        return None

    def by_hand(self, name: str, arguments: Arguments) -> str:
        """What to get, and where to put it, where nothing can be downloaded."""
        return "its files"

    def read(self, name: str, arguments: Arguments, weights: Path) -> nn.Module | None:
        """The network with the weights of a file, by the library's own reader; None where it has none worth using."""
        return None


class Timm(Scheme):
    """PyTorch image models; names with their tag or without, "resnet18.a1_in1k". The preprocessing is of `pretrained_cfg`."""

    example = "timm:resnet18"

    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        timm = self._library()
        if "/" not in name and ":" not in name and not timm.is_model(name.partition(".")[0]):
            lookup("model of timm", name, dict.fromkeys(timm.list_models()))
        network: nn.Module = timm.create_model(name, **{"pretrained": published, **arguments})
        return network

    def preprocessing(self, network: nn.Module, name: str, arguments: Arguments) -> Preprocessing:
        told = library("timm.data", self._asker).resolve_model_data_config(network)
        asked = arguments.get("img_size")
        size = (asked, asked) if isinstance(asked, int) else tuple(asked or told["input_size"][1:])
        config = getattr(network, "pretrained_cfg", None) or {}
        return Preprocessing(
            mean=tuple(told["mean"]),
            std=tuple(told["std"]),
            size=size,
            fixed=bool(config.get("fixed_input_size", False)),
        )

    def by_hand(self, name: str, arguments: Arguments) -> str:
        config = self._library().get_pretrained_cfg(name)
        hub = getattr(config, "hf_hub_id", None)
        if hub:
            url = library("huggingface_hub", "timm's weights").hf_hub_url(hub, "model.safetensors")
        else:
            url = getattr(config, "url", None) or "the weights of this model"
        return f"{url} and {_GIVE}"

    def _library(self) -> Any:
        return library("timm", self._asker)


class Torchvision(Scheme):
    """torchvision's classifiers, with `weights` among the arguments for others than its best, as weights=IMAGENET1K_V1. The
    preprocessing is that of the weights."""

    example = "torchvision:resnet18"
    # Their published weights expect that they normalise the normalised images once more.
    _AGAIN = ("googlenet", "inception_v3")

    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        models = library("torchvision.models", self._asker)
        lookup("classifier of torchvision", name, dict.fromkeys(models.list_models(module=models)))
        given: dict[str, Any] = {"weights": "DEFAULT" if published else None}
        if not published and name in self._AGAIN:
            given |= {"transform_input": True, "init_weights": False}
        network: nn.Module = models.get_model(
            name, **{**given, **arguments, **({} if published else {"weights": None})}
        )
        return network

    def preprocessing(self, network: nn.Module, name: str, arguments: Arguments) -> Preprocessing:
        told = self._weights(name, arguments).transforms()
        side = told.crop_size[0]
        fixed = isinstance(getattr(network, "image_size", None), int)
        return Preprocessing(mean=tuple(told.mean), std=tuple(told.std), size=(side, side), fixed=fixed)

    def by_hand(self, name: str, arguments: Arguments) -> str:
        url = self._weights(name, arguments).url
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        return f"{url} and {_GIVE}, or put it into {folder} under its own name"

    def _weights(self, name: str, arguments: Arguments) -> Any:
        every = library("torchvision.models", self._asker).get_model_weights(name)
        asked = str(arguments.get("weights") or "DEFAULT").rpartition(".")[2]
        return every.DEFAULT if asked == "DEFAULT" else every[asked]


class RobustBench(Scheme):
    """RobustBench's model zoo: [data set/][threat model/]name, by default cifar10 and Linf. The preprocessing is inside."""

    example = "robustbench:Linf/Carmon2019Unlabeled"

    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        dataset, threat, model, entry = self._entry(name)
        if not published:
            network: nn.Module = entry["model"](**arguments)
            return network
        return self._load(dataset, threat, model, arguments)

    def read(self, name: str, arguments: Arguments, weights: Path) -> nn.Module:
        """By its own reader, which knows the names of weights in each of its files; torch reads them without pickled code."""
        dataset, threat, model, entry = self._entry(name)
        if isinstance(entry["gdrive_id"], list):
            raise ValueError(f"{model} has several files: {self.by_hand(name, arguments)}")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / dataset / threat / f"{model}.pt"
            place.parent.mkdir(parents=True)
            place.symlink_to(weights.resolve())
            return self._load(dataset, threat, model, {**arguments, "model_dir": folder})

    def by_hand(self, name: str, arguments: Arguments) -> str:
        dataset, threat, model, entry = self._entry(name)
        folder = Path(arguments.get("model_dir", "models")) / dataset / threat
        files = entry["gdrive_id"]
        if isinstance(files, list):
            shown = ", ".join(f"{file} as {model}.pt_m{i}.pt" for i, file in enumerate(files))
            return f"these files of Google Drive and put them into {folder}: {shown}"
        return f"the file {files} of Google Drive and {_GIVE}, or put it into {folder} as {model}.pt"

    def _load(self, dataset: str, threat: str, model: str, arguments: Arguments) -> nn.Module:
        load = library("robustbench.utils", self._asker).load_model
        network: nn.Module = load(model, dataset=dataset, threat_model=threat, **arguments)
        return network

    def _entry(self, name: str) -> tuple[str, str, str, Any]:
        zoo = library("robustbench.model_zoo.models", self._asker).model_dicts
        kinds = library("robustbench.model_zoo.enums", self._asker)
        dataset, threat = "cifar10", "Linf"
        *where, model = name.split("/")
        datasets = {kind.value: "data set" for kind in kinds.BenchmarkDataset}
        every = datasets | {kind.value: "threat model" for kind in kinds.ThreatModel}
        for part in where:
            if lookup("data set or threat model of RobustBench", part, every) == "data set":
                dataset = part
            else:
                threat = part
        known = zoo[kinds.BenchmarkDataset(dataset)].get(kinds.ThreatModel(threat), {})
        return dataset, threat, model, lookup(f"model of RobustBench in {dataset}/{threat}", model, known)


class Hub(Scheme):
    """torch.hub: owner/repository[:branch]:entry, or folder:entry for a repository on this machine. Its code is run."""

    example = "hub:pytorch/vision:resnet18"
    unreachable = (OSError, RuntimeError)
    says = False

    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        repository, _, entry = name.rpartition(":")
        if not repository:
            raise ValueError(f"hub:{name} names no repository: write hub:owner/repository:{name}, or hub:folder:{name}")
        source = "local" if Path(repository).is_dir() else "github"
        try:
            return torch.hub.load(repository, entry, source=source, **arguments)
        except EOFError as error:  # torch asks whether its code may be run, and nobody answers
            raise ValueError(
                f"hub:{name} runs the code of {repository}, and torch asks first whether you trust it: add the argument "
                "trust_repo=True"
            ) from error

    def preprocessing(self, network: nn.Module, name: str, arguments: Arguments) -> Preprocessing | None:
        told = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
        if not isinstance(told, Mapping) or not {"mean", "std"} <= told.keys():
            return None
        return Preprocessing(mean=tuple(told["mean"]), std=tuple(told["std"]))

    def by_hand(self, name: str, arguments: Arguments) -> str:
        repository, _, entry = name.rpartition(":")
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        return (
            f"a copy of the repository {repository} and name it, as hub:FOLDER:{entry}; its weights belong in {folder}"
        )


class Factory(Scheme):
    """A function of yours, package.module:function or file.py:function, that makes a network. It normalises inside."""

    example = "file.py:factory"
    unreachable = ()

    def make(self, name: str, arguments: Arguments, *, published: bool) -> nn.Module:
        function = imported("factory", name)
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            more = "" if arguments else " It must need no arguments, or they must be given"
            raise ValueError(f"{name}: {error}.{more}") from error
        made = function(**arguments)
        if not isinstance(made, nn.Module | torch.export.ExportedProgram):
            raise ValueError(f"{name} must return a torch.nn.Module, not {type(made).__name__}")
        return made  # type: ignore[return-value]


#: What stands before the first colon of a name; all else is a factory, or a file of ours.
SCHEMES: dict[str, Scheme] = {"timm": Timm(), "torchvision": Torchvision(), "robustbench": RobustBench(), "hub": Hub()}


def scheme_of(text: str) -> tuple[Scheme, str] | None:
    """Which scheme a name is of, and the name that its library knows; None for the path of a file."""
    before, colon, after = text.partition(":")
    if not colon or os.path.exists(text):
        return None
    return (SCHEMES[before], after) if before in SCHEMES else (Factory(), text)
