"""What a cell has to do, by its kind: images through its network, and what is no network's.

Constants are of the committed runs (docs/results): how many images a fooled one spares, and what a cell takes at least.
`benchmarks/estimates.py` shows how far they are off.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from groundglass.core.phases import effort
from groundglass.studies.engine.plan import Below, Plan

#: Beginning a cell: its network is read, and a copy arranged for attacks is compared with it. Seconds.
_BEGIN = 0.5


@dataclass(frozen=True)
class Passes:
    """Multiplications of a network's forward pass, by what else is done with the image: nothing, its gradient, a training step.

    Attributes:
        seconds: of other work, on a core of a processor that trains a quarter of VGG-16 on 1,100 images a second.
    """

    forward: float = 0.0
    gradient: float = 0.0
    step: float = 0.0
    seconds: float = 0.0

    def times(self, size: float) -> "Passes":
        """Of a network with so many multiplications, where these are images."""
        return Passes(self.forward * size, self.gradient * size, self.step * size, self.seconds)


def passes(plan: Plan, key: str) -> Passes:
    """What a cell has to do. Of a kind that is not known: a second."""
    unit = plan.units[key]
    work = WORK.get(unit.kind)
    return Passes(seconds=1.0) if work is None else work(unit.config, Below(plan, unit))


#: A step with other weights in the place of each layer's transpose, in steps of hybrid DFA.
_LEARNING = {"feedback-alignment": 1.3, "sign-symmetry": 1.2, "direct-feedback": 1.2, "estimated-derivative": 1.1}


def _training(c: Any, on: Below) -> Passes:
    """Epochs over the training images; of a classifier alone, its fit to features that are computed once."""
    images, n = c.training["epochs"] * on.plan.train, on.plan.test
    if c.training["credit"] == "classifier":
        computed = Passes(forward=on.plan.train + n).times(on.size)
        # Readings that do not fit into memory are measured in every epoch.
        measured = on.device * (c.training["epochs"] if on.device > 1.6e7 else 1) * on.plan.train * 2e-11
        return Passes(computed.forward, seconds=2 + measured + images * on.head * 3e-10)
    if c.model.get("frozen") == "features":
        computed = Passes(forward=on.plan.train + n).times(on.size)  # the block's weights are a few more
        return Passes(computed.forward, seconds=2 + images * (1e-5 + 2e-11 * on.device + 3e-10 * on.head))
    if c.model.get("frozen") == "convolutions":
        return Passes(forward=images + n, gradient=images * c.model.get("parts", 1) / 8).times(on.size)
    adversarial = c.training.get("adversarial")
    steps = 0 if adversarial is None else adversarial.get("steps", 7)
    images = images * effort(c.training)
    tried = Passes(forward=n, gradient=images * steps).times(on.size)
    learned = images * (1 if adversarial is None else 1.5) * _LEARNING.get(c.training["credit"], 1.0)
    return Passes(tried.forward, tried.gradient, learned * on.trained_size)


def _steps(settings: Mapping[str, Any], usual: int = 50) -> int:
    found = 1
    for name, default in (("steps", usual), ("restarts", 1), ("samples", 1)):
        found *= settings.get(name) or default
    return found


def _attack(c: Any, on: Below) -> Passes:
    if c.attack == "RandomNoise":
        return Passes(forward=(3 + on.right * c.settings.get("points", 20)) * c.n_images * on.size, seconds=2 * _BEGIN)
    steps = _steps(c.settings)
    share = 4.0 if c.attack == "CW" else on.right if c.rule == "own-head" or steps == 1 else on.stands(c)
    # Few images are left in a batch, and a rule of the attacker's is slower than the network's own gradient.
    dear = 1.0 if on.defended and c.rule not in ("bp", "own-head") else 0.7
    network = Passes(forward=4 * c.n_images, gradient=dear * share * steps * c.n_images).times(on.size)
    return Passes(network.forward, network.gradient, seconds=2 * _BEGIN)


def _draws(c: Any, on: Below) -> Passes:
    share = on.stands(c)
    gradient = share * share * _steps(c.again or c.settings) * (c.draws - 1) * c.n_images
    network = Passes(forward=c.draws * share * c.n_images, gradient=gradient).times(on.size)
    return Passes(network.forward, network.gradient, seconds=_BEGIN + 0.1 * c.draws)


def _asked(n_images: int, budget: int) -> float:
    """Queries about images that are attacked, until each is fooled or has spent all: of a larger budget a smaller share."""
    return n_images * budget * min(1.0, 0.35 * (1000 / budget) ** 0.5)


def _query(c: Any, on: Below) -> Passes:
    asked = on.right * _asked(c.n_images, c.budget) * (2 if c.correlation else 1) * (1 if on.defended else 0.5)
    return Passes(forward=1.6 * asked * on.size, seconds=_BEGIN)


def _audit(c: Any, on: Below) -> Passes:
    s = c.settings
    stronger = (1 + s.get("targets", 2)) * s.get("restarts", 1) / 3 + s.get("draws", 5) / 5
    share = (0.9 if on.defended else 0.25) * (4 if on.hardened else 1)
    gradient = share * stronger / 2 * c.n_images * s["steps"]
    asked = share * _asked(min(s["query_images"], c.n_images), s["queries"])
    network = Passes(forward=asked, gradient=gradient).times(on.size)
    return Passes(network.forward, network.gradient, seconds=3 if on.defended else 1)


def _certify(c: Any, on: Below) -> Passes:
    """Draws of all images; and two attacks, each on several copies, of those that are certified, and what judges them: once the
    network itself, which is slower than the copy. Noise takes as long whatever the network."""
    certified = 0.7 * c.n_images
    draws = c.n_images * (c.n0 + c.n) + 2 * certified * c.judge_draws
    slower = 2 * certified * c.judge_draws
    gradient = 2 * certified * _steps(c.settings, 10) * c.attack_draws
    network = Passes(forward=draws + slower, gradient=gradient).times(on.size)
    return Passes(network.forward, network.gradient, seconds=_BEGIN + 5e-5 * draws)


def _common(c: Any, on: Below) -> Passes:
    return Passes(forward=len(c.models) * c.n_images * c.confirmations * on.size, seconds=_BEGIN * len(c.models))


def _right_on_all(on: Below) -> float:
    """Images of the common set, as many as such sets have had."""
    found = (on.plan.units[key] for key in on.unit.inputs if key in on.plan.units)
    return on.right**3 * next((one.config.n_images for one in found if one.kind == "common"), 1000)


def _craft(c: Any, on: Below) -> Passes:
    n, sources = _right_on_all(on), len(c.sources)
    if c.budget:
        return Passes(forward=1.2 * _asked(round(n), c.budget) * on.size, seconds=_BEGIN)
    # Each is computed by its own copy, none of which is in the processor's cache when its turn comes.
    together = 0.6 if sources == 1 else 0.9 * sources
    dear = 2.0 if "exact" in c.rules else 1.0
    network = Passes(forward=3 * n * sources, gradient=dear * together * n * _steps(c.settings, 10)).times(on.size)
    return Passes(network.forward, network.gradient, seconds=_BEGIN * sources)


def _transfer(c: Any, on: Below) -> Passes:
    return Passes(forward=_right_on_all(on) * (1 + c.confirmations) * on.size, seconds=_BEGIN / 2)


def _distil(c: Any, on: Below) -> Passes:
    network = Passes(forward=c.queries + 3 * on.plan.test, step=c.training["epochs"] * c.queries).times(on.size)
    return Passes(network.forward, step=network.step, seconds=_BEGIN)


def _tuned(c: Any, on: Below) -> Passes:
    """A redraw, or a noisy or moving device: features of all images, and a fit of the classifier."""
    copies = getattr(c, "matrices", 1)
    images = copies * c.training["epochs"] * on.plan.train
    computed = (on.plan.train + on.plan.test) * on.size / 3  # most find them in a cache
    return Passes(forward=computed, seconds=2 + copies * on.device * on.plan.train * 2e-11 + images * on.head * 2e-10)


def _drift(c: Any, on: Below) -> Passes:
    features = on.plan.test + (on.plan.train if c.fit_images else 0)
    return Passes(forward=features * on.size / 4, seconds=1 + len(c.ages) * on.device * 5e-8)


def _retrieve(c: Any, on: Below) -> Passes:
    """Of the frames' Gram matrices and the search, which takes longer with frames that hardly suffice: below 5 N."""
    rows = c.rows or c.out_features
    longer = 1 + 10 / max(c.per_input - 4, 0.4) ** 2
    wandering = 6 if c.correlation or c.camera.read_noise else 1
    return Passes(seconds=0.1 + 3.5e-10 * rows * c.frames * c.in_features * longer * wandering)


def _rows(c: Any, on: Below) -> Passes:
    return Passes(seconds=0.5 + 1e-10 * c.rows * c.frames * c.in_features)


def _guard(c: Any, on: Below) -> Passes:
    """Features of all images, which most find in a cache, and the moments of their bits."""
    return Passes(forward=(on.plan.train + on.plan.test) * on.size / 3, seconds=1 + 1e-4 * on.plan.train)


def _watch(c: Any, on: Below) -> Passes:
    """A retrieval is soon seen; what is like natural rows goes on to the end."""
    seen = c.share == 1 and "images" not in c.traffic and c.traffic != "one class"
    return Passes(seconds=0.5 + 1e-5 * c.streams * (min(c.frames, 1000) if seen else c.frames))


def _detect(c: Any, on: Below) -> Passes:
    """Some tens of queries a point; or each candidate's readings."""
    each = {"Flat": 2, "Repeat": 2, "candidates": 3}.get(c.sign) or 2 * c.settings.get("halvings", 16) + 8
    return Passes(forward=each * c.points * on.size, seconds=2 * _BEGIN)


def _device(c: Any, on: Below) -> Passes:
    return Passes(seconds=0.2 + 3e-8 * min(c.in_features * c.out_features, 10**9))


def _cost(c: Any, on: Below) -> Passes:
    """A process of its own that draws the device and measures it."""
    entries, longest = c.in_features * c.block, max(c.in_features, c.block)
    each = {"dense": 1.8e-8 * entries, "procedural": 4e-9 * entries}.get(c.device_kind, 4.5e-6 * longest)
    return Passes(seconds=3 + each)


def _fidelity(c: Any, on: Below) -> Passes:
    return Passes(seconds=2.5 * (c.in_features * c.out_features / 2**20) * (1 + c.redraws / 40) / 2)


def _look(c: Any, on: Below) -> Passes:
    """At records that are there."""
    return Passes(seconds=0.02)


#: The work of each kind, from its Config and what it is done on.
WORK: dict[str, Callable[[Any, Below], Passes]] = {
    "train": _training,
    "attack": _attack,
    "draws": _draws,
    "query": _query,
    "audit": _audit,
    "certify": _certify,
    "common": _common,
    "craft": _craft,
    "transfer": _transfer,
    "distil": _distil,
    "redraw": _tuned,
    "randomise": _tuned,
    "drift": _drift,
    "retrieve": _retrieve,
    "rows": _rows,
    "guard": _guard,
    "watch": _watch,
    "detect": _detect,
    "device": _device,
    "cost": _cost,
    "fidelity": _fidelity,
    "check": _look,
    "choice": _look,
    "fit": _look,
}
