"""The gradients of a subject, and what it takes to make them."""

import pytest
import torch
from torch import Tensor, nn

import groundglass.audit.subject as subjects
from groundglass.audit.subject import Mode, subject
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork, defend
from groundglass.optics import Camera, SimulatedOPU

from .known import CLASSES, SIDE, pictures

IMAGES, LABELS = pictures(700, 7)
NATURAL = ImageSet("pictures", "train", (255 * IMAGES).round().to(torch.uint8), LABELS, tuple("abcd"))
FITS = ("bpda-fit-linear", "bpda-fit-network")


def defended(read_noise: float) -> DefendedNetwork:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, CLASSES))
    device = SimulatedOPU.create(32, 64, seed=3, camera=Camera(read_noise=read_noise))
    return defend(head, at="1", device=device, seed=0, classes=CLASSES).eval()


def fitted(network: DefendedNetwork, *names: str) -> list[Tensor]:
    """What each fitted gradient of one audit makes of the same errors."""
    who = subject(
        network,
        images=IMAGES[:8],
        views={},
        natural=NATURAL,
        matrix=None,
        fit_images=len(NATURAL),
        labels=100,
        seed=0,
    )
    found = []
    for name in names:
        make = who.mode(name)
        assert callable(make)
        mode = make()
        assert isinstance(mode, Mode)
        rule = mode.model.rule  # type: ignore[union-attr]
        found.append(rule.vjp(torch.eye(32)[:4], torch.eye(CLASSES)[:4]))
    return found


@pytest.mark.parametrize(("noise", "times"), [(0.0, 1), (2.0, 2)], ids=["steady", "noisy"])
def test_images_are_run_once_for_all_fits_where_a_device_reads_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch, noise: float, times: int
) -> None:
    seen: list[int] = []
    observe = subjects.observe

    def counted(target: nn.Module, images: ImageSet) -> object:
        seen.append(len(images))
        return observe(target, images)  # type: ignore[arg-type]

    monkeypatch.setattr(subjects, "observe", counted)
    both = fitted(defended(noise), *FITS)
    assert sum(seen) in (500 * times, 700 * times)
    if not noise:
        apart = [one for name in FITS for one in fitted(defended(noise), name)]
        assert all(map(torch.equal, both, apart))
