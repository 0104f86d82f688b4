from pathlib import Path
from statistics import NormalDist

import pytest
import torch
from scipy.stats import beta, binomtest, norm
from torch import nn

import groundglass as gg
from groundglass.certify import ABSTAIN, certified_radius, predicted
from groundglass.certify import tally as tallies
from groundglass.certify.noise import gaussian
from groundglass.core import NonFiniteError
from groundglass.kernels.tensor import as_on_a_card
from tests.certify.toys import curved, defended, images, linear

CPU = torch.device("cpu")


@pytest.mark.parametrize("counts", [(90, 10), (60, 40), (50, 50), (0, 100), (998, 1, 1), (7, 3, 0), (5200, 4800)])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_decisions_are_those_of_the_published_code(counts: tuple[int, ...], alpha: float) -> None:
    """What core.py of locuslab/smoothing computes, by the scipy functions behind its statsmodels."""
    order = sorted(range(len(counts)), key=lambda k: -counts[k])
    first, second = counts[order[0]], counts[order[1]]
    theirs = ABSTAIN if binomtest(first, first + second, p=0.5).pvalue > alpha else order[0]
    assert predicted(counts, alpha=alpha) == theirs
    for count in counts:
        low = beta.ppf(alpha, count, sum(counts) - count + 1) if count else 0.0
        found = certified_radius(count, sum(counts), sigma=0.25, alpha=alpha)
        if low < 0.5:
            assert found is None
        else:
            assert found == pytest.approx(0.25 * norm.ppf(low), rel=1e-9)


def test_of_a_linear_classifier_the_certificate_is_the_distance() -> None:
    """Its smoothed classifier is itself, with p = Phi(distance / sigma): the certificate is tight there (their appendix)."""
    model, x = linear(), images(20)
    found = gg.smooth(model, 0.3).certify(x, n0=20, n=600, alpha=0.001)
    weight = model[1].weight[1].detach()
    signed = (model(x)[:, 1] - model(x)[:, 0]).detach() / (2 * weight.norm())
    near = 0
    for one, distance in zip(found.images, signed.tolist(), strict=True):
        assert one.radius <= abs(distance)
        if not one.abstained:
            assert one.prediction == int(distance > 0)
            near += 0.6 * abs(distance) < one.radius
    assert near >= 5
    assert found.abstained < 10


def test_as_many_draws_as_agree_give_the_largest_radius() -> None:
    always = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        always[1].weight.zero_()
        always[1].bias.copy_(torch.tensor([0.0, 1.0]))
    (one,) = gg.smooth(always, 0.5).certify(images(1), [1], n0=10, n=100, alpha=0.001).images
    assert one.radius == pytest.approx(0.5 * NormalDist().inv_cdf(0.001**0.01))
    assert (one.prediction, one.count, one.label, one.abstained) == (1, 100, 1, False)


def test_noise_is_gaussian_and_an_images_own() -> None:
    drawn = gaussian(3, "choose", 5, 0, 400, (1, 10, 10), CPU)
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert float(drawn.abs().max()) > 3.7
    assert torch.equal(gaussian(3, "choose", 5, 100, 7, (1, 10, 10), CPU), drawn[100:107])
    with as_on_a_card():
        assert torch.allclose(gaussian(3, "choose", 5, 0, 400, (1, 10, 10), CPU), drawn, rtol=1e-6)
    for other in (
        gaussian(4, "choose", 5, 0, 1, (1, 10, 10), CPU),
        gaussian(3, "estimate", 5, 0, 1, (1, 10, 10), CPU),
        gaussian(3, "choose", 6, 0, 1, (1, 10, 10), CPU),
    ):
        assert not torch.equal(other, drawn[:1])


def test_counts_depend_on_neither_batches_nor_other_images() -> None:
    smoothed, x = gg.smooth(curved(), 0.2), images(6)
    whole = smoothed.certify(x, n0=20, n=150, seed=7)
    for size in (1, 37, 1000):
        again = smoothed.certify(x[[4, 1]], n0=20, n=150, seed=7, indices=[4, 1], batch_size=size)
        assert torch.equal(again.estimated, whole.estimated[[4, 1]])
        assert torch.equal(again.chosen, whole.chosen[[4, 1]])
    assert not torch.equal(smoothed.certify(x, n0=20, n=150, seed=8).estimated, whole.estimated)
    assert whole.estimated.sum(1).tolist() == [150] * 6


class Killed(Exception):
    pass


@pytest.mark.parametrize("read_noise", [0.0, 20.0])
def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_noise: float) -> None:
    """Also behind a camera whose noise is counted in frames."""
    monkeypatch.setattr(tallies, "SECONDS", 0.0)
    path, x = tmp_path / "certificates.safetensors", images(3)
    asked = {"n0": 8, "n": 40, "batch_size": 16}

    def dies(what: str, done: int, total: int, **figures: float) -> None:
        assert total == 3 * 48
        if done > 70:
            raise Killed

    whole = gg.smooth(defended(read_noise=read_noise), 0.2).certify(x, **asked)
    with pytest.raises(Killed):
        gg.smooth(defended(read_noise=read_noise), 0.2).certify(x, **asked, checkpoint=path, progress=dies)
    steps = []
    again = gg.smooth(defended(read_noise=read_noise), 0.2).certify(
        x, **asked, checkpoint=path, progress=lambda what, done, total: steps.append(done)
    )
    assert torch.equal(again.estimated, whole.estimated)
    assert torch.equal(again.chosen, whole.chosen)
    assert 70 < steps[0] + 16 < 3 * 48
    with pytest.raises(ValueError, match="sigma"):
        gg.smooth(defended(read_noise=read_noise), 0.3).certify(x, **asked, checkpoint=path)


def test_a_defended_network_is_certified_as_it_stands_and_its_frames_are_counted() -> None:
    network, x = defended(), images(10)
    labels = network(x).argmax(1)
    found = gg.smooth(network, 0.05).certify(x, labels, n0=20, n=120)
    assert found.frames == 10 * 140
    assert gg.smooth(curved(), 0.05).certify(x[:1], n0=1, n=1).frames == 0
    shares = found.certified_accuracy([0, 0.02, 0.1])
    assert shares[0].count == sum(one.prediction == one.label for one in found.images) > 3
    assert shares[0].count >= shares[0.02].count > shares[0.1].count
    low, high = shares[0.02].interval
    assert low < shares[0.02].share < high
    assert list(found.to_frame()["radius"]) == [one.radius for one in found.images]


def test_a_prediction_is_the_smoothed_classifiers_or_none() -> None:
    model, x = linear(), images(40)
    signed = (model(x)[:, 1] - model(x)[:, 0]).detach()
    found = gg.smooth(model, 0.3).predict(x, n=100, alpha=0.001)
    said = found != ABSTAIN
    assert torch.equal(found[said], (signed > 0).long()[said])
    assert 10 < int(said.sum()) < 40
    assert signed[~said].abs().mean() < 0.5 * signed[said].abs().mean()


def test_a_network_may_be_random_itself() -> None:
    """Draws of its own in every pass are part of what is smoothed: a class that it gives in 9 of 10 cases is certified."""
    random = torch.Generator().manual_seed(0)

    def model(x: torch.Tensor) -> torch.Tensor:
        flips = torch.rand(len(x), generator=random) < 0.1
        return nn.functional.one_hot(flips.long(), 2).float()

    (one,) = gg.smooth(model, 1.0).certify(images(1), n0=20, n=3000).images
    assert one.prediction == 0
    assert one.radius == pytest.approx(NormalDist().inv_cdf(0.9), abs=0.15)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        gg.smooth(linear(), 0.0)
    with pytest.raises(TypeError, match="function"):
        gg.smooth(3, 0.1)
    smoothed = gg.smooth(linear(), 0.1)
    with pytest.raises(ValueError, match="alpha"):
        smoothed.certify(images(1), alpha=0.5)
    with pytest.raises(ValueError, match="indices"):
        smoothed.predict(images(2), indices=[0])
    with pytest.raises(ValueError, match="labels"):
        smoothed.certify(images(1), n0=1, n=1).certified_accuracy([0.1])
    with pytest.raises(NonFiniteError):
        gg.smooth(lambda x: x.flatten(1)[:, :2] / (x.amin() >= 0), 1.0).predict(images(1), n=3)
    none = smoothed.certify(images(0), [])
    assert len(none) == 0
    with pytest.raises(ValueError, match="no images"):
        none.certified_accuracy([0.1])
