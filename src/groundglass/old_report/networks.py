"""The networks that were attacked: how well they do untouched, and what training them took."""

from dataclasses import dataclass
from typing import Any

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report import figures
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.results.records import Record

_CREDIT = {
    "bp": "backpropagation",
    "hybrid-dfa": "hybrid: backpropagation and DFA",
    "classifier": "classifier alone, on frozen features",
}


@dataclass(frozen=True)
class Network:
    """A trained network, as the table shows it.

    Attributes:
        features: whose they are, and how it did, in words; an empty string for features of its own.
        device: sizes and camera in words, or an empty string.
    """

    name: str
    credit: str
    features: str
    clean: Proportion
    parameters: int
    epochs: int
    seconds: float
    images_per_second: float
    device: str
    fingerprint: str
    checkpoint: str


class NetworksSection:
    def render(self, study: Study) -> Rendered | None:
        records = study.of_kind("train")
        if not records:
            return None
        figure = figures.training(records)
        drawing = None
        if figure is not None:
            drawing = study.drawings.save(
                "training",
                figure,
                alt="Accuracy in each epoch: " + "; ".join(_last(record) for record in records) + ".",
                caption="Accuracy in each epoch, on training images as they were learned and, where measured, on test images.",
            )
        context = {"networks": [read_network(record) for record in records], "drawing": drawing}
        return Rendered("networks", "The networks, untouched", "networks.html.j2", context, study.progress("train"))


def read_network(record: Record) -> Network:
    """Read a record of kind "train".

    Raises:
        DamagedFileError: a field is missing, or impossible; names the record.
    """
    result = record.result
    try:
        total = int(result["n_test"])
        device: dict[str, Any] = result.get("device") or {}
        credit = str(record.config["training"]["credit"])
        return Network(
            name=record.name,
            credit=_CREDIT.get(credit, credit),
            features=_features(result.get("features") or {}),
            clean=Proportion(round(result["clean_accuracy"] * total), total),
            parameters=int(result["parameters"]),
            epochs=int(record.config["training"]["epochs"]),
            seconds=float(result["train_seconds"]),
            images_per_second=float(result["images_per_second"]),
            device=_device(device) if device else "",
            fingerprint=str(device.get("fingerprint", ""))[:12],
            checkpoint=str(result.get("checkpoint") or ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"the record {record.key} ({record.name}) is no training as this version writes it: "
            f"{type(error).__name__} {error}. Rebuild the page with the version that ran the study"
        ) from error


def _features(features: dict[str, Any]) -> str:
    return f"{features['name']} ({100 * features['clean_accuracy']:.1f}%)" if features else ""


def _device(device: dict[str, Any]) -> str:
    camera = "float output" if device.get("bits") is None else f"{device['bits']}-bit camera"
    matrix = "" if device.get("matrix", "complex") == "complex" else f", {device['matrix']} matrix"
    kind = "" if device.get("kind", "dense") == "dense" else f", {device['kind']}"
    return f"{device['in_features']:,} bits → {device['out_features']:,} readings, {camera}{matrix}{kind}"


def _last(record: Record) -> str:
    return f"{record.name} ends at {100 * record.result['clean_accuracy']:.1f}% on test images"
