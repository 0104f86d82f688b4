"""Which training reaches an accuracy for the least work? Trainings of many kinds: test accuracy against core-seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from groundglass.core.settings import Count, In, NotNegative, Positive, Settings, Share
from groundglass.data import Augment, Dataset
from groundglass.studies import kit
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Freezing, Growing, OneCycle, Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class Trial(Settings):
    """A training by what it has other than the study's own. None: as there.

    Attributes:
        width: of the network.
        epochs, batch_size, learning_rate, weight_decay, label_smoothing, augment, average, growing, freezing: see
            `TrainingConfig`; of VGG-OPU's training too.
        warmup: share of the epochs, of a one-cycle schedule.
        dropout: of the heads.
        defended: VGG-OPU is trained as well, or its features, and not VGG-16 alone.
    """

    width: Positive | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None
    warmup: Annotated[float, In("[0, 1)")] | None = None
    label_smoothing: Annotated[float, In("[0, 1)")] | None = None
    average: NotNegative | None = None
    growing: Growing | None = None
    freezing: Freezing | None = None
    augment: Augment | None = None
    dropout: Annotated[float, In("[0, 1)")] | None = None
    defended: bool = False

    @property
    def label(self) -> str:
        """What is other, in words: "width 0.5, 20 epochs, growing until 0.6"."""
        return ", ".join(self._words()) or "standard"

    def _words(self) -> Iterator[str]:
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value is not None:
                yield words.format(value)
        if self.growing is not None:
            start = "" if self.growing.start == Growing().start else f" from {self.growing.start:g}"
            yield f"growing{start} until {self.growing.until:g}"
        if self.freezing is not None:
            yield f"{self.freezing.layers} layers still after {self.freezing.after:g}"
        if self.augment is not None:
            flip, turn = "" if self.augment.flip else ", no flip", f", turn {self.augment.rotation:g}"
            yield f"crop {self.augment.crop}{flip}{turn if self.augment.rotation else ''}"

    def training(self, usual: TrainingConfig) -> TrainingConfig:
        """The training, from the study's own."""
        named = {name: getattr(self, name) for name in _OF_TRAINING}
        changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if self.warmup is not None:
            changes["schedule"] = OneCycle(warmup=self.warmup)
        return replace(usual, **changes)


_WORDS = {
    "width": "width {:g}",
    "epochs": "{} epochs",
    "batch_size": "batches of {}",
    "learning_rate": "rate {:g}",
    "weight_decay": "decay {:g}",
    "warmup": "warm-up {:g}",
    "label_smoothing": "smoothing {:g}",
    "average": "averaged over {:g}",
    "dropout": "dropout {:g}",
}
_OF_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing"),
    *("average", "growing", "freezing", "augment"),
)


@dataclass(frozen=True, kw_only=True)
class FrontierConfig(kit.TargetsConfig):
    """Trainings to compare, complete. `baseline` and `hybrid` are what a trial changes.

    Attributes:
        trials: in the order in which they run.
        goal: the accuracy that is asked for.
    """

    trials: tuple[Trial, ...]
    goal: Share

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.trials:
            raise ValueError("`trials` is empty: give one training at least")
        names = [trial.label for trial in self.trials]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"`trials` has two called {twice!r}: what differs must show in their names")


def cells(config: FrontierConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    return with_inputs(network for trial in config.trials for network in _networks(config, dataset, trial))


def _networks(config: FrontierConfig, dataset: Dataset, trial: Trial) -> list[NetworkCell]:
    changes: dict[str, Any] = {} if trial.width is None else {"width": trial.width}
    if trial.dropout is not None:
        changes |= dict.fromkeys(("baseline_dropout", "hybrid_dropout"), trial.dropout)
    own = {"baseline": trial.training(config.baseline), "hybrid": trial.training(config.hybrid)}
    changed = replace(config, **{**changes, **own})
    made = kit.targets(changed, dataset) if trial.defended else (kit.baseline_network(changed, dataset),)
    return [kit.another(one, lambda name: f"{name} {trial.label}") for one in made]


_SMALL_FIRST, _STILL = Growing(until=0.6), Freezing(after=0.75)
#: What the trials of a recipe share: what is shifted and mirrored, and not turned, is what fast training on CIFAR has.
_STANDARD = TrainingConfig(
    epochs=10,
    learning_rate=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    augment=Augment(crop=4, flip=True, rotation=0.0),
)
#: One mechanism at a time at a quarter of the width, where that is cheap.
_MECHANISMS = (
    Trial(width=0.25),
    Trial(width=0.25, growing=_SMALL_FIRST),
    Trial(width=0.25, freezing=_STILL),
    Trial(width=0.25, average=0.5),
    Trial(width=0.25, label_smoothing=0.0),
    Trial(width=0.25, augment=Augment()),
    Trial(width=0.25, batch_size=256, learning_rate=0.2),
)
_BOTH: dict[str, Any] = {"growing": _SMALL_FIRST, "freezing": _STILL}
#: Then what costs less for as much, longer and wider.
_LONGER = {
    "cifar10": (
        Trial(width=0.25, **_BOTH, defended=True),
        Trial(width=0.125, epochs=20, **_BOTH),
        Trial(width=0.25, epochs=20, **_BOTH),
        Trial(width=0.25, epochs=30, **_BOTH, defended=True),
        Trial(width=0.5, **_BOTH),
        Trial(width=0.5, epochs=20, **_BOTH, defended=True),
    ),
    "cifar100": (
        Trial(width=0.5, **_BOTH, defended=True),
        Trial(width=0.5, epochs=20, **_BOTH, defended=True),
        Trial(width=1.0, **_BOTH),
        Trial(width=0.5, epochs=50, **_BOTH, defended=True),
        Trial(width=1.0, epochs=20, **_BOTH),
    ),
}
#: The paper's natural accuracies, section 3.2.2.
_GOAL = {"cifar10": 0.85, "cifar100": 0.72}


@recipe(SMALL, QUICK_COST, QUICK_EXPECT, in_all=False)
def quick(data: str, seed: int, precision: Precision) -> FrontierConfig:
    """Two trainings of the networks of the other studies, one of them with all mechanisms."""
    every = Trial(growing=_SMALL_FIRST, freezing=Freezing(after=0.5), average=0.5, label_smoothing=0.1)
    return FrontierConfig(
        **kit.quick_networks(data, seed, precision, images=4000), trials=(Trial(defended=True), every), goal=0.5
    )


@recipe(
    CIFAR,
    "about 3.3 core-hours; CIFAR-100 10; the first seven trainings take less than one",
    "what each mechanism of training is worth, and which training reaches the paper's accuracy first",
    in_all=False,
)
def laptop(data: str, seed: int, precision: Precision) -> FrontierConfig:
    """CIFAR-100's VGG-OPU in two stages, as in other studies."""
    standard = replace(_STANDARD, precision=precision)
    networks = {**kit.laptop_networks(data, seed, precision), "width": 0.5, "baseline": standard}
    # Through a fixed random matrix a step is larger.
    networks |= {"hybrid": replace(standard, learning_rate=0.05)}
    if data == "cifar100":
        networks |= {"classifier": FINE_TUNING}
    return FrontierConfig(**networks, trials=(*_MECHANISMS, *_LONGER[data]), goal=_GOAL[data])


RECIPES = (quick, laptop)
