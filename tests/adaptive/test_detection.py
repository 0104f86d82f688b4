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


def few(images: Tensor) -> Tensor:
    """So few bits that none flips where a value or two move by a level."""
    return (_below(images)[:, :20] > 0).float() @ READOUT[:20]


def rounded(model: Model, digits: int) -> Model:
    return lambda images: torch.round(model(images), decimals=digits)


def probabilities(model: Model, digits: int = 5) -> Model:
    return rounded(lambda images: torch.softmax(model(images), 1), digits)


def eight_bit(model: Model) -> Model:
    """A service that rounds images to 8 bits."""
    return lambda images: model((255 * images).round() / 255)


def sixteen_bit(model: Model, kind: torch.dtype) -> Model:
    return rounded(lambda images: model(images).to(kind).float(), 5)


ONE = Flat(values=1)


@pytest.mark.parametrize(
    ("model", "sign", "there", "queries"),
    [
        (few, ONE, True, 9),
        (eight_bit(few), ONE, True, 9),
        (ordinary, Flat(), False, 22),
        (eight_bit(ordinary), Flat(), False, 22),
        (rounded(bits, 2), Jump(digits=2), True, 66),
        (rounded(ordinary, 4), Jump(digits=4), False, 242),
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
    assert found.queries == 30 * 22


NUMBERS = range(200)
SINGLES, PAIRS = IMAGES[:200, None], IMAGES.reshape(200, 2, 3, 4, 4)


@pytest.mark.filterwarnings("ignore:the model seems to return probabilities")
@pytest.mark.parametrize(
    ("model", "known"),
    [
        (probabilities(ordinary), 100),
        (eight_bit(ordinary), 200),
        (probabilities(eight_bit(ordinary)), 100),
        (sixteen_bit(ordinary, torch.bfloat16), 0),
        (sixteen_bit(ordinary, torch.float16), 0),
    ],
)
def test_an_ordinary_network_is_not_flat_because_something_is_rounded(model: Model, known: int) -> None:
    found = ONE.events(ScoreAccess(model), SINGLES, NUMBERS, 0)
    assert not (found == 1).any()
    assert (found == 0).sum() >= known
    assert detect(ScoreAccess(model), IMAGES, ONE, at_once=50).present is (False if known else None)


def test_what_rounding_hides_of_an_ordinary_network_is_no_event_but_nothing_learned() -> None:
    model = rounded(lambda images: ordinary(images) / 10_000, 5)
    there, moved = (model(images) for images in (IMAGES, ONE._moved(IMAGES, 1, range(400), 0)))
    still = ((there - moved).abs().amax(1) < 1e-6)[:200]
    found = ONE.events(ScoreAccess(model), SINGLES, NUMBERS, 0)
    assert still.sum() > 10
    assert (found[still] == -1).all()
    assert (found[~still] == 0).all()


@pytest.mark.filterwarnings("ignore:the model seems to return probabilities")
def test_bits_are_flat_behind_probabilities_and_behind_images_of_8_bits() -> None:
    for model in (probabilities(few), eight_bit(few), probabilities(eight_bit(few))):
        found = ONE.events(ScoreAccess(model), SINGLES, NUMBERS, 0)
        assert (found == 1).sum() > 5 * (found == 0).sum()
        assert (found == 1).sum() > 50


@pytest.mark.parametrize("sign", [Jump(digits=2), Jump(digits=3), Border()])
def test_an_ordinary_network_has_no_jump_and_no_rough_border_because_images_are_rounded(sign: Sign) -> None:
    access = LabelAccess if isinstance(sign, Border) else ScoreAccess
    for model in (eight_bit(ordinary), eight_bit(rough)):
        assert not (sign.events(access(model), PAIRS, NUMBERS, 0) == 1).any()
    asked = access(eight_bit(ordinary))
    assert detect(asked, IMAGES, sign, at_once=50).present is not True
    if isinstance(sign, Jump):
        assert not (sign.events(access(sixteen_bit(ordinary, torch.bfloat16)), PAIRS, NUMBERS, 0) == 1).any()


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


@pytest.mark.parametrize("sign", [ONE, Jump()])
def test_events_do_not_depend_on_what_is_asked_together(sign: Sign) -> None:
    found = [detect(ScoreAccess(layer), IMAGES, sign, at_once=k, alpha=1e-6, beta=1e-6, seed=3) for k in (1, 7)]
    both = min(len(one.log10_ratio) for one in found)
    assert both >= 6
    assert found[0].log10_ratio[:both].tolist() == found[1].log10_ratio[:both].tolist()
    assert found[0].present is found[1].present
    assert found[0].queries <= found[1].queries


def test_it_stops_unsure_when_queries_or_images_end() -> None:
    found = detect(ScoreAccess(few, budget=5), IMAGES, ONE)
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


@pytest.mark.parametrize("access", [ScoreAccess, LabelAccess])
def test_the_true_device_is_named_among_several(access: type[ScoreAccess] | type[LabelAccess]) -> None:
    candidates = [device(seed) for seed in range(5)]
    asked = access(candidates[2])
    found = identify(asked, candidates, IMAGES, at_once=2)
    assert (found.which, found.left) == (2, (2,))
    assert found.queries == asked.rows < 60
    # One that is another's twin is never told from it, and nothing is named.
    twins = identify(access(candidates[2]), [candidates[2], candidates[2], candidates[0]], IMAGES[:100], at_once=100)
    assert (twins.which, twins.left) == (None, (0, 1))


def test_by_scores_candidates_are_told_apart_that_have_one_class() -> None:
    def other(images: Tensor) -> Tensor:
        return 2 * ordinary(images) + 5  # of the same class everywhere, and added to all scores nothing counts

    def shifted(images: Tensor) -> Tensor:
        return 1.1 * ordinary(images) - 3

    candidates = [other, shifted]
    assert identify(ScoreAccess(ordinary), candidates, IMAGES[:50]).left == (0, 1)
    found = identify(ScoreAccess(ordinary), candidates, IMAGES[:50], within=0.5)
    assert (found.which, found.queries) == (1, 3)
    none = identify(ScoreAccess(ordinary), candidates, IMAGES[:50], within=0.01)
    assert (none.which, none.left, none.queries) == (None, (), 3)
    with pytest.raises(ValueError, match="within"):
        identify(LabelAccess(ordinary), candidates, IMAGES, within=0.5)
    with pytest.raises(ValueError, match="within"):
        identify(ScoreAccess(ordinary), candidates, IMAGES, within=0)
