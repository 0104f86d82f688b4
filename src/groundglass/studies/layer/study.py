"""What would a layer have to be to help? Layers of many kinds behind the same features, each beside no layer at all."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from groundglass.attacks import PGD
from groundglass.core import lookup
from groundglass.core.settings import Count, In, NotNegative, Positive, Settings
from groundglass.data import Dataset
from groundglass.optics import Encoding
from groundglass.studies import kit
from groundglass.studies.cells.certify import CertifyCell
from groundglass.studies.cells.check import check_cells
from groundglass.studies.cells.network import DeviceCell, PlaceCell, TrainCell
from groundglass.studies.defences.study import CHECKS
from groundglass.studies.engine.cell import Cell, key_of, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Precision


@dataclass(frozen=True, kw_only=True)
class Variant(Settings):
    """A layer by what it has other than the study's own. None: as there.

    Attributes:
        power: p of readings that grow as |Ux|^p.
        bits: of a reading; 0: float readings.
        saturation: share of the readings at the top. Of few bits it says where their thresholds lie.
        read_noise: std, reading steps.
        encoding: what enters the device.
        inputs, outputs: N and M. Another N needs features of its own.
    """

    power: Annotated[float, In("[1, 4]")] | None = None
    bits: Annotated[int, In("[0, 8]", "0 for float readings")] | None = None
    saturation: Annotated[float, In("[0, 1)")] | None = None
    read_noise: NotNegative | None = None
    encoding: Encoding | None = None
    inputs: Count | None = None
    outputs: Count | None = None

    @property
    def label(self) -> str:
        """What is other, in words: "p=4, 1 bit"."""
        told = (
            (self.power, "p={:g}"),
            (self.bits, "float readings" if self.bits == 0 else "1 bit" if self.bits == 1 else "{} bits"),
            (None if self.bits else self.saturation, "saturation {:g}"),
            (self.read_noise, "noise {:g}"),
            (self.encoding and _ENCODINGS[self.encoding], "{}"),
            (self.inputs, "N={}"),
            (self.outputs, "M={}"),
        )
        return ", ".join(words.format(value) for value, words in told if value is not None) or "standard"

    def device(self, standard: DeviceCell) -> DeviceCell:
        """The device, from the study's own."""
        seen: dict[str, Any] = {name: getattr(self, name) for name in ("power", "saturation", "read_noise")}
        seen = {name: value for name, value in seen.items() if value is not None}
        if self.bits is not None:
            seen["bits"] = self.bits or None
        sizes = {"in_features": self.inputs, "out_features": self.outputs}
        changes: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
        return replace(standard, camera=replace(standard.camera, **seen), **changes)


_ENCODINGS = {
    "bits": "threshold at the mean",
    "bits-batch": "threshold of the batch",
    "bits-zero": "threshold at zero",
    "float": "float inputs",
}
#: The layers of the study: one thing at a time, then several. What has one bit of output has it at the median, so that no
#: power of |Ux| is left in it.
VARIANTS = (
    *(Variant(power=power) for power in (1.0, 3.0, 4.0)),
    Variant(bits=1, saturation=0.5),
    Variant(bits=2, saturation=0.1),
    Variant(bits=4, saturation=0.03),
    Variant(bits=0),
    Variant(encoding="bits-zero"),
    Variant(encoding="float"),
    *(Variant(read_noise=noise) for noise in (16.0, 64.0)),
    *(Variant(outputs=count) for count in (256, 2000, 16_000)),
    Variant(inputs=128),
    Variant(bits=1, saturation=0.5, outputs=512),
    Variant(bits=1, saturation=0.5, encoding="bits-zero"),
    Variant(power=4.0, read_noise=16.0, outputs=2000),
)


# Of each axis the one that may change a smoothed network most.
_CERTIFIED = ("standard", "p=4", "1 bit", "threshold at zero", "noise 64")


@dataclass(frozen=True, kw_only=True)
class LayerConfig(kit.TargetsConfig):
    """A sweep over what a layer does, complete.

    All layers stand behind the features of VGG-OPU, which stay as they are: a classifier is fitted for each. The control of a
    layer is a linear classifier on what enters it.

    Attributes:
        variants: of the layer, beside the study's own.
        eps_paper, eps_l2: radii of the audits, on the paper's axis and in pixel units: where features keep something.
        n_images: that are audited.
        steps: of the attacker who knows U.
        confirmations: of a layer with noise, by that attacker: how often it is asked whether an image fools it.
        certified: names of layers that are certified by randomised smoothing, and with them their controls.
        sigma: std of the noise of that, pixel units.
        certify_images, certify_draws: the first so many test images, each by so many draws, and a tenth to choose its class.
        certify_radii: L2, at which certified accuracy is told.
    """

    variants: tuple[Variant, ...] = VARIANTS
    eps_paper: tuple[kit.PaperRadius, ...] = (0.01,)
    eps_l2: tuple[Positive, ...] = (0.25,)
    n_images: Count = 200
    steps: Count = 50
    confirmations: Count = 9
    certified: tuple[str, ...] = ()
    sigma: Positive = 0.12
    certify_images: Count = 50
    certify_draws: Count = 1000
    certify_radii: tuple[Positive, ...] = (0.1, 0.25)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [one.label for one in self.layers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"`variants` has two layers called {twice!r}: what differs must show in their names")
        for name in self.certified:
            lookup("layer", name, dict.fromkeys(names))

    @property
    def layers(self) -> tuple[Variant, ...]:
        """The study's own, and its variants."""
        return (Variant(), *self.variants)


def cells(config: LayerConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    pairs = [_pair(config, dataset, one) for one in config.layers]
    # Layer by layer: of an unfinished run the first ones are whole.
    found: list[Cell] = [cell for pair in pairs for network in pair for cell in _judged(config, dataset, network)]
    sure = [pair for one, pair in zip(config.layers, pairs, strict=True) if one.label in config.certified]
    smoothed = list(
        {key_of(made): made for pair in sure for one in pair for made in (_certificate(config, one),)}.values()
    )
    return with_inputs([*found, *smoothed, *(check_cells(CHECKS, smoothed) if smoothed else ())])


def _pair(config: LayerConfig, dataset: Dataset, variant: Variant) -> tuple[PlaceCell, PlaceCell]:
    """The control of a layer, the same features without one, and the network with it."""
    features, encoding = _features(config, dataset, variant), variant.encoding or "bits"
    enters = encoding if variant.inputs is None else f"{encoding}, N={variant.inputs}"
    device = variant.device(kit.device_cell(config))
    layer = kit.placed_network(config, f"layer {variant.label}", features, device, encoding=encoding, frozen=_FROZEN)
    control = kit.placed_network(config, f"no layer, {enters}", features, None, encoding=encoding, frozen=_FROZEN)
    return control, layer


# One classifier on features that are all there, whatever the recipe does for other studies.
_FROZEN = "below device"


def _features(config: LayerConfig, dataset: Dataset, variant: Variant) -> TrainCell:
    """VGG-OPU, or the network that has its features; of another N one that is trained like it."""
    defended = kit.targets(config, dataset)[1]
    if variant.inputs is None:
        return defended if isinstance(defended, TrainCell) else defended.features
    if isinstance(defended, TrainCell):
        device = kit.device_cell(config, in_features=variant.inputs)
        return kit.hybrid_network(config, dataset, f"VGG-OPU N={variant.inputs}", device)
    return kit.hybrid_network(config, dataset, f"VGG-DFA N={variant.inputs}", features=variant.inputs)


def _judged(config: LayerConfig, dataset: Dataset, network: PlaceCell) -> Iterator[Cell]:
    """Its audits, which know nothing of U, and the same balls with U known."""
    (audit,) = kit.audits(config, dataset, (network,))
    balls: list[dict[str, Any]] = kit.on_paper_axis(dataset, *config.eps_paper)
    balls += [{"norm": "l2", "eps": radius, "eps_paper": None} for radius in config.eps_l2]
    noisy = network.device is not None and network.device.camera.read_noise > 0
    asked = {"confirmations": config.confirmations} if noisy else {}
    for ball in balls:
        yield replace(audit, n_images=config.n_images, **ball)
        if network.device is not None:
            attack = PGD(steps=config.steps)
            yield kit.attack_cell(config, network, "exact", attack, **ball, **asked, purpose="layer")


def _certificate(config: LayerConfig, network: PlaceCell) -> CertifyCell:
    return CertifyCell(
        target=network,
        sigma=config.sigma,
        n0=max(1, config.certify_draws // 10),
        n=config.certify_draws,
        n_images=config.certify_images,
        radii=config.certify_radii,
        rule="ste" if network.device is None and network.encoding != "float" else "dfa",
        seed=config.seed,
    )


@recipe(SMALL, QUICK_COST, QUICK_EXPECT, in_all=False)
def quick(data: str, seed: int, precision: Precision) -> LayerConfig:
    """A few layers behind the networks of the other studies."""
    few = (Variant(power=4.0), Variant(bits=1, saturation=0.5), Variant(encoding="bits-zero"), Variant(read_noise=32.0))
    shared = kit.quick_networks(data, seed, precision)
    sure: dict[str, Any] = {"certified": (few[2].label,), "certify_images": 16, "certify_draws": 100}
    return LayerConfig(**shared, **sure, variants=few, n_images=48, eps_paper=kit.QUICK_RADII[1:2], steps=20)


@recipe(CIFAR, "about 25 minutes on two cores", "what a layer would have to be to help", in_all=False)
def laptop(data: str, seed: int, precision: Precision) -> LayerConfig:
    """VGG-OPU, or its features, are those of the other studies."""
    return LayerConfig(**kit.laptop_networks(data, seed, precision), certified=_CERTIFIED)


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes", in_all=False)
def paper(data: str, seed: int, precision: Precision) -> LayerConfig:
    return LayerConfig(
        **kit.paper_networks(data, seed, precision), n_images=1000, certified=_CERTIFIED, certify_images=500
    )


RECIPES = (quick, laptop, paper)
