"""Certificates of the CIFAR-10 networks of the zoo, each checked by attacks: smoothing, bits that can flip, noise inside.

    GROUNDGLASS_DATA=DIR python benchmarks/certify.py --out /tmp/certify

1. *Randomised smoothing* of VGG-16 and VGG-OPU (a quarter of the width, not trained with noise): certified accuracy against the
   L2 radius, with 95% Wilson intervals over images.
2. *The check*: PGD on the smoothed classifier inside the radii that were certified, and inside some times as much; of VGG-OPU by
   the exact derivative, as a certificate holds for whoever has U.
3. *Bits* of VGG-OPU that can flip within an L-inf ball, by intervals and by CROWN, beside those that an attack does flip.
4. *Noise inside*: how far a flipped bit moves the readings, beside what read noise certifies in the space of readings.

What is counted is kept in `--out`, and the same command goes on from there. The first images of the test set; seeds as given.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import torch
import tyro
from torch import Tensor

import groundglass as gg
from groundglass.adaptive import make_rule, stand_in
from groundglass.adaptive.stand_ins import StandInAccess, unasked
from groundglass.certify import Certified, challenge, flippable_bits
from groundglass.core.platform import machine, versions
from groundglass.data import ImageSet, load
from groundglass.models import DefendedNetwork, predict_logits
from groundglass.optics.layer import binarise


@dataclass(frozen=True)
class Arguments:
    """What is certified.

    Attributes:
        out: folder of what is kept.
        images: that are smoothed.
        draws: an image, after 50 that choose its class.
        sigmas: std of the noise, pixel units.
        radii: L2, pixel units.
        times: the radius of the control, in certified ones.
        bounded: images whose bits are bounded by CROWN.
        eps: L-inf of those, in 1/255.
        pushed: L-inf of the attack on bits, in 1/255; on 100 images.
        seed: of all draws.
        threads: of torch.
    """

    out: Path
    images: int = 20
    draws: int = 500
    sigmas: tuple[float, ...] = (0.12, 0.25)
    radii: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5)
    times: float = 20.0
    bounded: int = 1
    eps: tuple[float, ...] = (0.001, 0.003)
    pushed: tuple[float, ...] = (0.001, 0.003, 0.01, 0.1, 0.5, 1.0, 2.0, 8.0)
    seed: int = 0
    threads: int = 1


def smoothing(a: Arguments, networks: dict[str, torch.nn.Module], test: ImageSet) -> dict[tuple[str, float], Certified]:
    few = test.head(a.images)
    print(f"\n### Randomised smoothing, {a.images} images, 50 + {a.draws} draws, alpha 0.001; certified accuracy, %\n")
    print("| network | sigma | abstained | " + " | ".join(f"L2 {radius:g}" for radius in a.radii) + " | frames |")
    print("|---|---|---|" + "---|" * len(a.radii) + "---|")
    found = {}
    for name, network in networks.items():
        for sigma in a.sigmas:
            kept = a.out / f"{name}-{sigma:g}.safetensors"
            asked = {"n0": 50, "n": a.draws, "seed": a.seed, "batch_size": 50, "checkpoint": kept}
            one = gg.smooth(network, sigma).certify(few.floats(), few.labels, **asked)
            shares = one.certified_accuracy(a.radii).values()
            told = (
                f"{100 * share.share:.0f} ({100 * share.interval[0]:.0f}–{100 * share.interval[1]:.0f})"
                for share in shares
            )
            print(f"| {name} | {sigma:g} | {one.abstained} | " + " | ".join(told) + f" | {one.frames:,} |", flush=True)
            found[name, sigma] = one
    return found


def check(
    a: Arguments, networks: dict[str, torch.nn.Module], test: ImageSet, found: dict[tuple[str, float], Certified]
) -> None:
    print(
        "\n### Attacks inside certified radii: PGD, 10 steps on the mean of 8 draws; judged by 200 draws, alpha 0.001\n"
    )
    print(
        f"| network | sigma | certified images | another class inside the radius | inside {a.times:g} times the radius |"
    )
    print("|---|---|---|---|---|")
    x = test.head(a.images).floats()
    for (name, sigma), one in found.items():
        network = networks[name]
        known = (
            network.seen_through(make_rule("exact", network, seed=a.seed))
            if isinstance(network, DefendedNetwork)
            else network
        )
        sure = [i for i, image in enumerate(one.images) if not image.abstained]
        if not sure:
            print(f"| {name} | {sigma:g} | 0 | | |")
            continue
        images, classes = x[sure], torch.tensor([one.images[i].prediction for i in sure])
        broken = []
        for times in (0.999, a.times):
            radii = [times * one.images[i].radius for i in sure]
            smoothed, climbed = gg.smooth(network, sigma), gg.smooth(known, sigma)
            found_near = challenge(
                smoothed, climbed, images, classes, radii, judge_draws=200, seed=a.seed, indices=sure
            )
            broken.append(int(found_near.broken.sum()))
        print(f"| {name} | {sigma:g} | {len(sure)} | {broken[0]} | {broken[1]} |", flush=True)


def bits_of(network: DefendedNetwork, images: Tensor) -> Tensor:
    with torch.no_grad():
        return binarise(network.features(images)).bool()


def bits(a: Arguments, network: DefendedNetwork, test: ImageSet) -> None:
    few, many = test.head(a.bounded).floats(), test.head(100)
    print(f"\n### Bits of {network.block.width} that can flip, VGG-OPU, mean an image\n")
    print(f"| L-inf, /255 | intervals, {a.bounded} images | CROWN, {a.bounded} images | seconds an image, CROWN |")
    print("|---|---|---|---|")
    for eps in a.eps:
        wide = flippable_bits(network, few, eps / 255, method="ibp").counts.double().mean()
        started = time.perf_counter()
        narrow = flippable_bits(network, few, eps / 255, method="crown").counts.double().mean()
        seconds = (time.perf_counter() - started) / a.bounded
        print(f"| {eps:g} | {wide:.0f} | {narrow:.0f} | {seconds:.0f} |", flush=True)
    print("\n| L-inf, /255 | bits that 10 steps of an attack flip, of 100 images: mean | images with none |")
    print("|---|---|---|")
    x = many.floats()
    # The network's own classes: an image that is wrong by its label would be left alone.
    labels = predict_logits(network, x).argmax(1)
    before = bits_of(network, x)
    for eps in a.pushed:
        access = StandInAccess(network, stand_in("bit-flip", network, seed=a.seed))
        near = unasked(gg.PGD(steps=10))(access, x, labels, gg.Linf(eps / 255), seed=a.seed).adversarial
        flipped = (bits_of(network, near) != before).sum(1)
        print(f"| {eps:g} | {flipped.double().mean():.1f} | {int((flipped == 0).sum())} |", flush=True)


def inside(a: Arguments, network: DefendedNetwork, test: ImageSet) -> None:
    device = network.device
    assert device is not None
    before = bits_of(network, test.head(50).floats()).to(torch.uint8)
    flipped, random = before.clone(), torch.Generator().manual_seed(a.seed)
    where = torch.randint(0, before.shape[1], (50, 1), generator=random)
    flipped.scatter_(1, where, 1 - before.gather(1, where))
    moved = (device.measure(flipped).double() - device.measure(before).double()).norm(dim=1)
    most = NormalDist().inv_cdf(0.001 ** (1 / 10_000))
    print("\n### Noise inside, in grey levels (L2 over all readings)\n")
    print(f"One flipped bit moves them by {moved.median():.0f} ({moved.min():.0f}–{moved.max():.0f}), of 50 images.")
    print(f"Read noise of std s certifies at most {most:.2f} s (10,000 draws that agree, alpha 0.001).")
    print(f"So one bit that flips needs s = {moved.min() / most:.0f} or more, of readings from 0 to 255.")


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    a.out.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    test = load("cifar10").test
    networks = {"VGG-16": gg.load("vgg-16"), "VGG-OPU": gg.load("vgg-opu-demo")}
    defended = networks["VGG-OPU"]
    assert isinstance(defended, DefendedNetwork)
    started = time.perf_counter()
    inside(a, defended, test)
    found = smoothing(a, networks, test)
    check(a, networks, test, found)
    bits(a, defended, test)
    print(f"\n({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
