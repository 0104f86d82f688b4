"""Who asks until they are sure: models whose answer is known, and the queries that are counted."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from groundglass.adaptive import Again, Border, Flat, Jump, Repeat, Sign, detect, identify
from groundglass.attacks import LabelAccess, ScoreAccess

Model = Callable[[Tensor], Tensor]
G = torch.Generator().manual_seed(0)
N, CLASSES = 300, 4
IMAGES = 0.3 + 0.4 * torch.rand(400, 3, 4, 4, generator=G)
WEIGHTS = torch.randn(48, N, generator=G)
READOUT = torch.randn(N, CLASSES, generator=G)
MATRIX = torch.randn(N, 30, generator=G, dtype=torch.complex64)
ABOVE = torch.randn(30, CLASSES, generator=G) / 30


def _below(images: Tensor) -> Tensor:
    return (images.flatten(1) - 0.5) @ WEIGHTS


def ordinary(images: Tensor) -> Tensor:
    return torch.tanh(_below(images)) @ READOUT


def bits(images: Tensor) -> Tensor:
    return (_below(images) > 0).float() @ READOUT


def layer(images: Tensor) -> Tensor:
    found = (_below(images) > 0).to(torch.complex64) @ MATRIX
    return (found.abs().square() - 20) @ ABOVE


def rounded(model: Model, digits: int) -> Model:
    return lambda images: torch.round(model(images), decimals=digits)


@pytest.mark.parametrize(
    ("model", "sign", "there", "queries"),
    [
        (layer, Flat(), True, 6),
        (bits, Flat(), True, 6),
        (ordinary, Flat(), False, 22),
        (rounded(layer, 2), Jump(digits=2), True, 54),
        (rounded(ordinary, 4), Jump(digits=4), False, 198),
    ],
)
def test_a_layer_of_bits_is_known_by_its_scores(model: Model, sign: Sign, there: bool, queries: int) -> None:
    access = ScoreAccess(model)
    found = detect(access, IMAGES, sign)
    assert found.present is there
    assert found.queries == access.rows == found.asked[-1] == queries
    assert found.log10_ratio[-1] * (1 if there else -1) >= 3 > abs(found.log10_ratio[-2])


def test_few_digits_teach_nothing_rather_than_a_wrong_thing() -> None:
    # Of whole numbers every change is lost in rounding long before single flips are reached.
    found = detect(ScoreAccess(rounded(ordinary, 0)), IMAGES[:60], Jump(digits=0))
    assert (found.present, len(found.log10_ratio)) == (None, 0)
    assert found.queries == 30 * 18


def plane(images: Tensor) -> Tensor:
    return torch.stack([images.flatten(1) @ torch.linspace(-1, 1, 48), torch.zeros(len(images))], 1)


MANY, VOTES = torch.randn(48, 3000, generator=G), torch.randn(3000, 2, generator=G)


def rough(images: Tensor) -> Tensor:
    """So many bits that some flip at any step."""
    return ((images.flatten(1) - 0.5) @ MANY > 0).float() @ VOTES


def test_a_border_is_rough_or_a_plane_by_classes_alone() -> None:
    sign = Border()
    access = LabelAccess(rough)
    assert detect(access, IMAGES, sign).present is True
    smooth = detect(LabelAccess(plane), IMAGES, sign)
    assert smooth.present is False
    # Both ways of every direction, but for those nearer to parallel than the halvings can tell, lead to two classes.
    groups = IMAGES[:100].reshape(50, 2, 3, 4, 4)
    same = sign.same(LabelAccess(plane), groups, range(50), 0)
    assert (same < 0).any()
    assert float(same[same >= 0].mean()) < 0.02


def test_what_is_above_the_bits_is_linear_or_not() -> None:
    for model, linear in ((bits, True), (layer, False)):
        assert detect(ScoreAccess(rounded(model, 5)), IMAGES, Again(), at_once=20).present is linear


def test_noise_is_seen_by_asking_again() -> None:
    g = torch.Generator().manual_seed(1)
    noisy = ScoreAccess(lambda images: ordinary(images) + 0.01 * torch.randn(len(images), CLASSES, generator=g))
    assert detect(noisy, IMAGES, Repeat()).present is True
    assert detect(ScoreAccess(ordinary), IMAGES, Repeat()).present is False


@pytest.mark.parametrize("sign", [Flat(), Jump()])
def test_events_do_not_depend_on_what_is_asked_together(sign: Sign) -> None:
    found = [detect(ScoreAccess(layer), IMAGES, sign, at_once=k, alpha=1e-6, beta=1e-6, seed=3) for k in (1, 7)]
    both = min(len(one.log10_ratio) for one in found)
    assert both >= 6
    assert found[0].log10_ratio[:both].tolist() == found[1].log10_ratio[:both].tolist()
    assert found[0].present is found[1].present
    assert found[0].queries <= found[1].queries


def test_it_stops_unsure_when_queries_or_images_end() -> None:
    found = detect(ScoreAccess(layer, budget=5), IMAGES, Flat())
    assert (found.present, found.queries) == (None, 5)
    assert detect(ScoreAccess(layer), IMAGES[:2], Flat()).present is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 2 images"):
        detect(ScoreAccess(layer), IMAGES[:1], Jump())
    with pytest.raises(TypeError, match="ScoreAccess"):
        detect(LabelAccess(layer), IMAGES, Flat())
    with pytest.raises(TypeError, match="LabelAccess"):
        detect(ScoreAccess(layer), IMAGES, Border())
    with pytest.raises(ValueError, match="rare"):
        detect(ScoreAccess(layer), IMAGES, Flat(rare=0.5, often=0.2))
    with pytest.raises(ValueError, match="two candidates"):
        identify(ScoreAccess(layer), [layer], IMAGES)


def device(seed: int) -> Model:
    own = torch.randn(N, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)

    def answer(images: Tensor) -> Tensor:
        return ((_below(images) > 0).to(torch.complex64) @ own).abs().square() @ ABOVE

    return answer


def test_the_true_device_is_named_among_several() -> None:
    candidates = [device(seed) for seed in range(5)]
    by_scores = identify(ScoreAccess(candidates[2]), candidates, IMAGES)
    assert (by_scores.which, by_scores.queries) == (2, 3)  # 19^3 is above 4 / 0.001
    access = LabelAccess(candidates[2])
    by_labels = identify(access, candidates, IMAGES, at_once=2)
    assert by_labels.which == 2
    assert by_labels.queries == access.queries < 60
    # One that is another's twin is never told from it.
    assert identify(LabelAccess(candidates[2]), [candidates[2]] * 2, IMAGES[:40]).which is None
