"""The verdict on networks of which it is known whether their robustness is real."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import L2, PGD, GradientAccess, Linf, Targeted
from groundglass.audit import Audit, AuditConfig, Claim, Finding, NothingToAuditError, audit
from groundglass.audit.ledger import Counting
from groundglass.data import ImageSet
from groundglass.models import ModelSpec, build
from groundglass.optics import SimulatedOPU

from .known import BALL, CLASSES, EPS, Around, Randomised, Shattered, batch_dependent, pictures, trained, vanishing

CONFIG = AuditConfig(steps=20, queries=300, query_images=40, probes=32, samples=8)
#: Where it is not the verdict that is looked at.
FEW = AuditConfig(steps=5, queries=20, query_images=8, probes=12, samples=4)
IMAGES, LABELS = pictures(100, 7)


def of(model: nn.Module, **changes: object) -> Audit:
    settings: dict = {"config": CONFIG, **changes}
    return audit(model, IMAGES, LABELS, BALL, **settings)


def failed(found: Audit, claim: str = "own") -> set[str]:
    """Checks of the network and of a claim."""
    return {check.name for check in (*found.failed, *found.claim(claim).failed)}


def told(found: Audit, check: str, claim: str = "own") -> str:
    (measured,) = (one.measured for one in (*found.checks, *found.claim(claim).checks) if one.name == check)
    return measured


def own(found: Audit) -> Claim:
    return found.claim("own")


@pytest.fixture(scope="module")
def plain() -> Audit:
    return of(trained(False))


@pytest.fixture(scope="module")
def robust() -> Audit:
    return of(trained(True))


def test_a_plain_network_is_not_robust_and_hides_nothing(plain: Audit) -> None:
    assert own(plain).verdict is Finding.STANDS, plain.sentence
    assert repr(plain) == plain.sentence
    assert plain.clean.share > 0.9
    assert plain.worst.share < 0.4


def test_a_truly_robust_network_is_believed(robust: Audit) -> None:
    assert own(robust).verdict is Finding.STANDS, robust.sentence
    assert robust.worst.share > 0.85
    # The most that anybody could say against it was tried.
    tried = {attempt.attack for attempt in robust.attempts if attempt.tried}
    assert tried == {"PGD", "RandomNoise", "FGSM", "APGD", "Square", "RayS"}


@pytest.mark.parametrize(
    ("hide", "signs"),
    [
        (Shattered, {"gradients are there", "gradients no weaker than queries"}),
        (vanishing, {"gradients are there", "loss moves around the images", "more effort gets no further"}),
        (Randomised, {"same answer every time"}),
        (batch_dependent, {"same answer in any batch"}),
    ],
)
def test_what_hides_a_gradient_is_seen_and_got_around(plain: Audit, hide: Callable, signs: set[str]) -> None:
    found = of(hide(trained(False)))
    assert signs <= failed(found)
    assert found.randomised == (hide is Randomised)
    if hide in (Shattered, Randomised):
        assert found.worst.share < own(found).share - 0.2
    if hide is Shattered:
        assert own(found).share > 0.9  # what would have been believed
    if hide is vanishing:
        assert abs(found.worst.share - plain.worst.share) < 0.05  # the margin's gradient is the plain network's
    if hide is Randomised:
        assert any(", EOT 8" in attempt.mode and attempt.broke for attempt in found.attempts)


def test_every_image_is_accounted_for(plain: Audit) -> None:
    """By what broke it; and the images that broke it fool a fresh pass, from inside the ball."""
    for place, attempt in enumerate(plain.attempts):
        assert int((plain.broken_by == place).sum()) == attempt.broke
    assert int((plain.broken_by == -2).sum()) == plain.clean.total - plain.clean.count
    assert int(plain.robust.sum()) == plain.worst.count
    broken = plain.broken_by >= 0
    assert bool((trained(False)(plain.adversarial[broken]).argmax(1) != LABELS[broken]).all())
    assert bool(BALL.contains(plain.adversarial, IMAGES, tolerance=1e-6).all())
    assert torch.equal(plain.adversarial[~broken], IMAGES[~broken])


def untimed(found: Audit) -> tuple:
    """What a seed decides."""
    attempts = tuple(replace(attempt, seconds=0.0) for attempt in found.attempts)
    return (found.sentence, found.clean, found.claims, found.worst, attempts, found.checks, found.broken_by.tolist())


def test_a_fooled_image_is_not_attacked_again(plain: Audit) -> None:
    standing = plain.clean.count
    for attempt in plain.attempts:
        assert attempt.tried <= standing
        assert attempt.fooled in (None, attempt.broke)
        standing -= attempt.broke
    assert standing == plain.worst.count


def test_the_same_seed_gives_the_same_audit(plain: Audit) -> None:
    again = of(trained(False))
    assert untimed(again) == untimed(plain)


def test_what_was_not_run_is_named_and_not_passed(plain: Audit) -> None:
    skipped = {check.name: check.measured for check in own(plain).skipped}
    assert "surrogates" in skipped["gradients no weaker than transfer"]
    assert "views" in skipped["adaptive attacks get no further"]


def test_a_better_gradient_breaks_a_shattered_network() -> None:
    """What a user brings for BPDA: the same logits, the rounding passed as the identity."""
    through = Around(trained(False), before=lambda x: x + ((x * 16).round() / 16 - x).detach())
    found = of(Shattered(trained(False)), views={"rounding as the identity": through})
    assert "adaptive attacks get no further" in failed(found)
    assert found.worst.share < 0.4


def test_a_robust_network_keeps_its_verdict_whatever_is_brought(robust: Audit) -> None:
    def noise(model: nn.Module, x: Tensor, y: Tensor, ball: Linf) -> Tensor:
        model(x)
        return (x + ball.eps * torch.sign(torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))).clamp(0, 1)

    found = of(trained(True), attacks={"my noise": noise}, surrogates={"plain": trained(False)})
    assert own(found).verdict is Finding.STANDS, found.sentence
    assert {"given", "transfer"} <= {attempt.role for attempt in found.attempts}
    (mine,) = (attempt for attempt in found.attempts if attempt.role == "given")
    assert mine.forwards == mine.tried > 0


def test_an_attack_of_ones_own_counts_only_inside_the_ball() -> None:
    found = of(trained(True), attacks={"cheat": lambda model, x, y, ball: 1 - x}, config=FEW)
    (mine,) = (attempt for attempt in found.attempts if attempt.role == "given")
    assert mine.broke == 0
    assert "outside the ball" in mine.invalid
    assert "adversarial images hold" not in failed(found)


def test_a_stated_figure_is_held_against_what_is_left(plain: Audit, robust: Audit) -> None:
    assert "stated figure is borne out" in failed(of(trained(False), claim=0.6), "stated")
    assert of(trained(True), claim=round(robust.worst.share, 2)).claims[0].verdict is Finding.STANDS


def test_probabilities_for_logits_are_named() -> None:
    model = nn.Sequential(trained(True), nn.Softmax(1))
    with pytest.warns(RuntimeWarning, match="probabilities"):
        found = of(model, config=FEW)
    assert "inputs and outputs" in failed(found)


def test_labels_alone_are_asked_about_an_eighth_of_what_scores_are() -> None:
    """Also where `query_images` is more than there are, as in `STANDARD`."""
    few = AuditConfig(steps=2, queries=3, query_images=1_000_000, probes=6)
    found = audit(trained(True), IMAGES[:40], LABELS[:40], BALL, config=few)
    tried = {attempt.attack: attempt.tried for attempt in found.attempts}
    assert tried["Square"] > 30
    assert tried["RayS"] == tried["Square"] // 8


def test_labels_alone_get_every_query_where_they_get_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.audit.battery._LABELS_ALONE", 900)
    model = trained(False)

    def labels_only(x: Tensor) -> Tensor:
        with torch.no_grad():
            return nn.functional.one_hot(model(x).argmax(1), CLASSES) - 0.5

    few = AuditConfig(steps=2, queries=1000, query_images=1_000_000, probes=6)
    found = audit(labels_only, IMAGES[:40], LABELS[:40], BALL, config=few)  # type: ignore[arg-type]
    first, then = (attempt for attempt in found.attempts if attempt.attack == "RayS")
    assert first.broke
    assert first.tried <= 5
    assert then.tried > 20
    assert "900 queries" in first.name
    assert "1000 queries" in then.name


def test_the_model_is_left_as_it_was() -> None:
    model = trained(False)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = of(model, config=FEW)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "train mode" in found.checks[0].measured
    model.eval()


def test_l2_has_its_own_ball() -> None:
    found = audit(trained(False), IMAGES, LABELS, L2(EPS * 16), config=CONFIG)
    assert found.ball.startswith("L2")
    assert found.worst.share < 0.5
    assert {attempt.attack for attempt in found.attempts} & {"RayS", "SurFree"} == {"SurFree"}


def test_a_network_that_only_names_a_class_is_broken_by_labels_alone_in_l2() -> None:
    """Its scores say nothing: no gradient, and nothing for Square to climb."""
    model = trained(False)

    def names(x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = model(x)
            return 5.0 * torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]) - 1

    config = replace(CONFIG, queries=150, query_images=24)
    found = audit(names, IMAGES[:40], LABELS[:40], L2(EPS * 40), config=config)
    broke = {name: sum(a.broke for a in found.attempts if a.attack == name) for name in ("Square", "SurFree")}
    assert broke["SurFree"] > 5 * broke["Square"]
    assert found.worst.share < 0.1


def test_a_numpy_like_function_without_a_gradient_is_audited_by_asking() -> None:
    model = trained(False)

    def service(x: Tensor) -> Tensor:
        with torch.no_grad():
            return model(x)

    found = of(service)  # type: ignore[arg-type]
    assert "gradients are there" in failed(found)
    assert any(attempt.role == "queries" and attempt.broke for attempt in found.attempts)


@pytest.mark.slow
def test_the_audit_costs_at_most_three_times_its_dearest_attack() -> None:
    """In images through the model, all of them counted; a gradient's way back is two more."""
    model, passed = trained(True), {"forward": 0, "gradient": 0}

    def counted(x: Tensor) -> Tensor:  # a function is not copied: every pass is seen, of attacks and checks alike
        passed["forward"] += len(x)
        passed["gradient"] += len(x) if torch.is_grad_enabled() and x.requires_grad else 0
        return model(x)

    sized = AuditConfig(steps=50, queries=1000, query_images=100, probes=24)
    found = audit(counted, IMAGES, LABELS, BALL, config=sized)
    assert found.worst.share > 0.85  # what stands is what costs
    dearest = max(attempt.forwards + 3 * attempt.gradients for attempt in found.attempts)
    total = passed["forward"] + 2 * passed["gradient"]
    assert total > sum(attempt.forwards + 3 * attempt.gradients for attempt in found.attempts)
    assert total <= 3 * dearest, (total, dearest)


def test_a_model_that_draws_from_torchs_own_stream_is_audited_repeatably() -> None:
    inner = trained(False)  # trained here, where there are gradients, and not within an attack's pass without them

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return inner(x + 0.3 * torch.randn_like(x))

    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = of(Noisy(), config=FEW)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two = of(Noisy(), config=FEW)
    assert untimed(one) == untimed(two)


def test_a_gradient_that_turns_nan_on_the_way_is_told_and_ends_no_audit() -> None:
    class Cracked(nn.Module):
        """NaN wherever a pixel has been moved far."""

        def forward(self, x: Tensor) -> Tensor:
            logits = trained(True)(x)
            far = ((x - 0.5).abs().flatten(1).amax(1) > 0.49)[:, None]
            return torch.where(far, logits * torch.nan, logits)

    found = audit(Cracked(), IMAGES, LABELS, Linf(0.2), config=CONFIG)
    assert "gradients are there" in failed(found)
    assert "NaN or infinity ended" in told(found, "gradients are there")


def test_a_model_whose_copy_is_another_is_attacked_itself() -> None:
    class Tapped(nn.Module):
        """Takes its layers one by one, where the copy for attacks has joined them."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
            self.head = nn.Linear(4 * 16 * 16, 4)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
                if isinstance(layer, nn.Conv2d):
                    x = x + 1  # between convolution and norm: folded, it would come after
            return self.head(x)

    model = Tapped().eval()
    model.layers[1].running_mean += torch.tensor([0.5, -0.5, 1.0, -1.0])
    labels = model(IMAGES).argmax(1)
    found = audit(model, IMAGES, labels, Linf(0.02), config=CONFIG)
    assert "adversarial images hold" not in failed(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES * 255}, "divide by 255"),
        ({"images": 2 * IMAGES - 1}, "normalised"),
        ({"labels": LABELS.float()}, "integers"),
        ({"labels": LABELS[:-1]}, "one an image"),
        ({"claim": 45}, "0.45, not 45"),
        ({"ball": L2(1000)}, "eps"),
        ({"ball": Linf(0)}, "radius 0"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no images"),
        ({"views": {"own": nn.Identity()}}, "may not be called own"),
    ],
)
def test_bad_input_is_refused_before_any_work(changes: dict, message: str) -> None:
    asked = Counting(trained(False))
    given = {"images": IMAGES, "labels": LABELS, "ball": BALL, **changes}
    with pytest.raises(ValueError, match=message):
        audit(asked, given.pop("images"), given.pop("labels"), given.pop("ball"), config=CONFIG, **given)
    assert asked.rows == 0


def test_a_model_that_is_never_right_has_nothing_to_audit() -> None:
    never = (trained(False)(IMAGES).argmax(1) + 1) % CLASSES
    with pytest.raises(NothingToAuditError, match="none of 100"):
        audit(trained(False), IMAGES, never, BALL, config=CONFIG)


@pytest.fixture(scope="module")
def defended() -> tuple[nn.Module, ImageSet]:
    """An untrained network with a device: its labels are its own predictions."""
    device = SimulatedOPU.create(32, 64, seed=3)
    spec = ModelSpec(width=0.05, classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=32, device_out=64)
    model = build(spec, device=device, seed=0).eval()
    images = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = model(images.float() / 255).argmax(1)
    return model, ImageSet("noise", "train", images, labels, tuple("abcd"))


def test_a_defended_network_is_held_to_the_paper_and_fitted_by_itself(defended: tuple[nn.Module, ImageSet]) -> None:
    model, natural = defended
    few, config = natural.head(20), AuditConfig(steps=5, queries=5, fit_images=100)
    found, without = (
        audit(model, few.floats(), few.labels, Linf(1 / 255), natural=given, config=config) for given in (natural, None)
    )
    assert {a.mode for a in found.attempts if a.role == "base"} == {"dfa-fresh", "fa", "own"}
    assert [claim.name for claim in found.claims] == ["dfa-fresh+fa", "own"]
    adaptive = {a.mode: a for a in found.attempts if a.role == "adaptive"}
    assert list(adaptive)[:3] == ["bit-flip", "own-head", "bpda-fit-linear"]
    assert adaptive["own-head"].fit["n_images"] == 120
    assert 0 < adaptive["bpda-fit-linear"].fit["n_images"] <= 100
    assert {"dfa-fresh, draw 2", "fa, draw 5", "bpda-drawn"} <= adaptive.keys()
    said, less = (told(one, "adaptive attacks get no further", "dfa-fresh+fa") for one in (found, without))
    assert "bpda-retrieved not run" in said
    assert "natural images" in said
    assert "bpda-fit-linear not run, no natural images" in less


def test_a_matrix_of_another_shape_is_refused_at_once(defended: tuple[nn.Module, ImageSet]) -> None:
    model, natural = defended
    few = natural.head(5)
    with pytest.raises(ValueError, match=r"\(64, 32\)"):
        audit(model, few.floats(), few.labels, Linf(0.1), matrix=torch.zeros(32, 64, dtype=torch.complex64))


def test_one_logit_is_refused_and_a_label_that_is_no_class() -> None:
    with pytest.raises(ValueError, match=r"\[-z, z\]"):
        audit(nn.Sequential(nn.Flatten(), nn.Linear(256, 1)), IMAGES, LABELS * 0, BALL, config=CONFIG)
    with pytest.raises(ValueError, match=r"0\.\.3"):
        audit(trained(False), IMAGES, LABELS + 1, BALL, config=CONFIG)


def test_twice_the_papers_l2_radius_is_a_ball_like_any() -> None:
    found = audit(trained(True), IMAGES, LABELS, L2(0.5), config=CONFIG)
    said = told(found, "accuracy falls with the radius")
    assert int(said.split(" at the radius, ")[1].split(" ")[0]) > 0  # without any bound none would stand


def test_the_secret_is_in_no_word_of_the_audit() -> None:
    secret = 31415926535897932384
    device = SimulatedOPU.create(32, 64, seed=secret)
    spec = ModelSpec(width=0.05, classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=32, device_out=64)
    model = build(spec, device=device, seed=0).eval()
    images = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tiny = AuditConfig(steps=3, queries=3)
    found = audit(model, images, model(images).argmax(1), Linf(1 / 255), config=tiny)
    assert any(attempt.mode == "exact" for attempt in found.attempts)  # the true U was at work
    text = repr(found)
    assert str(secret) not in text
    assert f"{secret:x}" not in text


def test_worst_case_agrees_with_a_plain_pgd_on_the_plain_network(plain: Audit) -> None:
    """Nothing in the bookkeeping may make an attack weaker than it is alone."""
    alone = PGD(steps=20, step_size=None)(GradientAccess(trained(False)), IMAGES, LABELS, BALL, seed=0)
    assert plain.worst.share <= alone.robust_accuracy


class OneByOne(nn.Module):
    """The plain network, which leaves out a norm of its Sequential; with a little noise, so that no two answers are equal."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        _, first, relu, last = trained(False)
        norm = nn.BatchNorm1d(64)
        nn.init.zeros_(norm.weight)  # folded into the layer before it, it would leave nothing of the image
        self.layers = nn.Sequential(first, norm, relu, last).eval()
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        for place in (0, 2, 3):
            x = self.layers[place](x.flatten(1))
        return x + self.noise * torch.randn_like(x)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_a_network_that_leaves_out_a_layer_has_the_worst_case_that_it_has(plain: Audit, noise: float) -> None:
    found = of(OneByOne(noise).eval())
    assert abs(found.clean.share - plain.clean.share) < 0.02
    assert abs(own(found).share - own(plain).share) < 0.05
    assert abs(found.worst.share - plain.worst.share) < 0.05
    assert "adversarial images hold" not in failed(found)


# --- criteria ---


def test_a_criterion_of_ones_own_goes_through_every_attack(plain: Audit) -> None:
    same = of(trained(False), criterion=lambda logits, labels: logits.argmax(1) != labels)
    assert untimed(same)[1:] == untimed(plain)[1:]
    assert torch.equal(same.broken_by, plain.broken_by)
    never = of(trained(False), criterion=lambda logits, labels: torch.zeros_like(labels, dtype=torch.bool))
    assert never.worst.share == never.clean.share == 1


def test_a_target_is_harder_to_reach_than_any_class(plain: Audit) -> None:
    goal = (LABELS + 1) % CLASSES
    found = of(trained(False), criterion=Targeted(goal))
    says = trained(False)(found.adversarial).argmax(1)
    assert torch.equal(says == goal, ~found.robust)
    assert plain.worst.share <= found.worst.share < found.clean.share
    assert "Targeted" in found.kept
    assert "targeted" not in {attempt.name for attempt in found.attempts}
    for criterion, said in ((Targeted(LABELS), "own label"), ("any", "Targeted")):
        with pytest.raises((TypeError, ValueError), match=said):
            of(trained(False), criterion=criterion)
    with pytest.raises(ValueError, match="one radius"):
        audit(trained(False), IMAGES, LABELS, Linf.each([EPS] * len(IMAGES)))
