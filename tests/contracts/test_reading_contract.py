"""On a card the host reads every few steps. What an attack finds is the same, and between two reads nobody waits."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch

from groundglass.attacks import (
    APGD,
    FAB,
    FGSM,
    L0,
    L1,
    L2,
    NES,
    PGD,
    ZOO,
    AttackCheckpoint,
    Bandits,
    CarliniWagnerL2,
    DeepFool,
    GradientAccess,
    HopSkipJump,
    InputDiversity,
    LabelAccess,
    LabelAttack,
    Linf,
    NonFiniteError,
    Parsimonious,
    RandomNoise,
    RayS,
    ScoreAccess,
    SparseRS,
    Square,
    SurFree,
    Targeted,
    TiledES,
    TransferPGD,
    checkpoint,
)
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.runs import Runs
from groundglass.attacks.unread import STEPS_BETWEEN_READS
from groundglass.core import whole
from groundglass.kernels import streams
from groundglass.models import predict_logits
from groundglass.models.predict import accuracy
from tests.attacks.test_checkpoint import Killed, Mortal
from tests.attacks.toy import Counting, RowModel, assert_same
from tests.attacks.watching import Reads, Waits, as_on_a_card, untold

COUNT, STEPS = 20, 10
ATTACKS = [
    FGSM(),
    PGD(steps=STEPS),
    PGD(steps=STEPS, random_start=True, restarts=3, loss="margin"),
    PGD(steps=STEPS, stop_when_fooled=False),
    PGD(steps=STEPS, stop_when_fooled=False, keep="last", restarts=2),
    APGD(steps=STEPS, restarts=2),
    APGD(steps=STEPS, loss="dlr", targets=2, stop_when_fooled=False),
    CarliniWagnerL2(steps=30, searches=2, learning_rate=0.03, initial_c=0.1),
    TransferPGD(steps=18, momentum=1.0, diversity=InputDiversity(), random_start=True, keep="highest"),
    RandomNoise(points=5),
]
SPARSE = [PGD(steps=STEPS, restarts=2), APGD(steps=STEPS)]
CASES = [(attack, Linf(0.03)) for attack in ATTACKS if not isinstance(attack, CarliniWagnerL2)]
CASES += [(attack, L2(0.3)) for attack in ATTACKS if isinstance(attack, CarliniWagnerL2 | APGD)]
CASES += [
    (FAB(steps=8), Linf(0.03)),
    (FAB(steps=8, targets=2, stop_when_fooled=False), L2(0.3)),
    (DeepFool(steps=8), L2(0.3)),
]
CASES += [(attack, L1(1.5)) for attack in SPARSE] + [(SPARSE[0], L0(2)), (ATTACKS[1], Linf((0.03, 0.02, 0.04)))]
each = pytest.mark.parametrize(("attack", "ball"), CASES, ids=[f"{a!r} {b!r}" for a, b in CASES])
every = pytest.mark.parametrize("steps", [5, None], ids=["every 5 steps", "as foreseen"])
MODEL = RowModel(classes=4)


def problem():
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    labels = MODEL(images).argmax(1)
    labels[[0, 7]] = (labels[[0, 7]] + 1) % 4
    return images, labels


def attacked(attack, ball, **options):
    model = Counting(MODEL)
    access = GradientAccess(model)
    result = attack(access, *problem(), ball, seed=4, batch_size=7, **options)
    assert int(result.gradients.sum()) == access.gradients
    assert access.rows == model.rows
    return result, access


def assert_the_same(attack, ball, monkeypatch, steps, **options):
    wanted, asked = attacked(attack, ball, **options)
    assert asked.wasted == 0
    as_on_a_card(monkeypatch, steps)
    found, access = attacked(attack, ball, **options)
    assert_same(found, wanted)
    assert (access.gradients, access.check_queries) == (asked.gradients, asked.check_queries)
    return wanted, access


@pytest.mark.one_in(5)
@every
@each
def test_results_and_counts_do_not_depend_on_when_the_host_reads(attack, ball, steps, monkeypatch):
    wanted, access = assert_the_same(attack, ball, monkeypatch, steps)
    stops = isinstance(attack, PGD | APGD) and attack.stop_when_fooled and bool(wanted.success.any())
    if steps is not None:
        assert (access.wasted > 0) == stops


@pytest.mark.parametrize("attack", [PGD(steps=STEPS, restarts=2), APGD(steps=STEPS)], ids=repr)
def test_nor_where_it_reads_after_each(attack, monkeypatch):
    _, access = assert_the_same(attack, Linf(0.03), monkeypatch, 1)
    assert access.wasted == 0


@pytest.mark.one_in(5)
@every
@pytest.mark.parametrize("ball", [Linf.each(torch.linspace(0.005, 0.05, COUNT)), L2.each([0.1, 0.3] * (COUNT // 2))])
@pytest.mark.parametrize("criterion", [None, "targeted", lambda logits, labels: logits.argmax(1) > labels])
def test_neither_do_those_with_radii_and_targets_of_their_own(criterion, ball, steps, monkeypatch):
    if criterion == "targeted":
        criterion = Targeted((problem()[1] + 1) % 4)
    attack = PGD(steps=STEPS, restarts=2, loss="margin")
    wanted, _ = assert_the_same(attack, ball, monkeypatch, steps, criterion=criterion)
    assert 0 < int(wanted.success.sum()) < COUNT


@pytest.mark.one_in(5)
@pytest.mark.parametrize("steps", [5, None])
@pytest.mark.parametrize("attack", [a for a in ATTACKS if type(a) not in (FGSM, RandomNoise)], ids=repr)
def test_an_attack_that_was_killed_between_two_reads_goes_on(attack, steps, monkeypatch, tmp_path):
    ball, images, labels = L2(0.3), *problem()
    wanted, asked = attacked(attack, ball)
    as_on_a_card(monkeypatch, steps)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    calls, rows = 21, 0
    for left in (calls, calls, 10**6):
        model = Mortal(MODEL, left)
        with suppress(Killed):
            kept = AttackCheckpoint(tmp_path / "kept")
            found = attack(GradientAccess(model), images, labels, ball, seed=4, batch_size=7, checkpoint=kept)
        rows += model.rows
    assert_same(found, wanted)
    # What was asked after the last read is asked again.
    assert asked.rows <= rows <= asked.rows + 2 * 7 * (STEPS_BETWEEN_READS + calls)


def test_rows_that_are_limited_are_not_wasted(monkeypatch):
    attack, ball = PGD(steps=STEPS), Linf(0.03)
    _, asked = attacked(attack, ball)
    as_on_a_card(monkeypatch)
    access = GradientAccess(MODEL, budget=asked.rows)
    attack(access, *problem(), ball, seed=4, batch_size=7)
    assert (access.remaining, access.wasted) == (0, 0)


class Spoilt(RowModel):
    """NaN for images that have moved so far."""

    def __init__(self) -> None:
        super().__init__(classes=4)
        self.images = problem()[0]

    def forward(self, x):
        far = (x[:, None] - self.images).flatten(2).abs().amax(2).amin(1) > 0.02
        return torch.where(far[:, None], torch.nan, super().forward(x))


@every
def test_what_is_not_finite_is_told_at_the_next_read(steps, monkeypatch):
    as_on_a_card(monkeypatch, steps)
    for attack in (PGD(steps=STEPS, step_size=0.004), APGD(steps=STEPS), TransferPGD(steps=20), FGSM(), RandomNoise()):
        with pytest.raises(NonFiniteError, match="NaN or infinite logits"):
            attack(GradientAccess(Spoilt()), *problem(), Linf(0.03), batch_size=7)


# --- nobody waits ---


class Diary:
    """What happened in an attack, in order: "step" for a gradient, "read" where the host reads, and names of what waits."""

    def __init__(self, monkeypatch):
        self.events = []
        gradient, save, leave, walk = Job.gradient, Job.save, Runs._leave, TransferPGD._walk

        def asked(job, *given, **options):
            self.events.append("step")
            return gradient(job, *given, **options)

        def saved(job, state, *, since=0):
            self.events += [] if since else ["read"]
            return save(job, state, since=since)

        def left(runs):
            self.events.append("read")
            return leave(runs)

        monkeypatch.setattr(Job, "gradient", asked)
        monkeypatch.setattr(Job, "save", saved)

        def begun(attack, *given):
            self.events.append("read")  # once a batch
            return walk(attack, *given)

        monkeypatch.setattr(Runs, "_leave", left)
        monkeypatch.setattr(TransferPGD, "_walk", begun)

    def follow(self, attack, ball, **options):
        with Waits(self.events.append), Reads(self.events.append):
            attacked(attack, ball, **options)

    def between_steps(self):
        """What was done between each step and the next, where the host did not read."""
        at = [place for place, event in enumerate(self.events) if event == "step"]
        parts = [self.events[a + 1 : b] for a, b in pairwise(at)]
        return [part for part in parts if "read" not in part]


STEPPING = [
    (PGD(steps=STEPS), Linf(0.03)),
    (PGD(steps=STEPS, stop_when_fooled=False, keep="last"), L2(0.3)),
    (PGD(steps=STEPS), L1(1.5)),
    (PGD(steps=STEPS), L0(2)),
    (APGD(steps=STEPS, loss="dlr", targets=2), Linf(0.03)),
    (APGD(steps=STEPS), L2(0.3)),
    (APGD(steps=STEPS), L1(1.5)),
    (CarliniWagnerL2(steps=30, searches=1, initial_c=0.1), L2(0.3)),
    (TransferPGD(steps=9, diversity=InputDiversity(), keep="highest"), Linf(0.03)),
    (TransferPGD(steps=9, momentum=1.0), L1(1.5)),
    (FAB(steps=9, targets=1, stop_when_fooled=False), Linf((0.03, 0.02, 0.04))),
    (FAB(steps=9, stop_when_fooled=False), L2(0.3)),
]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("attack", "ball"), STEPPING, ids=[f"{a!r} {b!r}" for a, b in STEPPING])
def test_between_two_reads_the_host_waits_for_nothing(attack, ball, monkeypatch):
    as_on_a_card(monkeypatch, 4)
    attacked(attack, ball)  # what is sent once, is sent here
    diary = Diary(monkeypatch)
    diary.follow(attack, ball)
    found = diary.between_steps()
    assert len(found) > 8
    assert [part for part in found if part] == []


@pytest.mark.parametrize("criterion", [Targeted(1), "each"])
@pytest.mark.parametrize("ball", [Linf.each([0.03] * COUNT), L1.each([1.0] * COUNT), L0.each([2] * COUNT)])
def test_nor_with_radii_and_targets_of_their_own(ball, criterion, monkeypatch):
    attack = PGD(steps=STEPS)
    criterion = Targeted((problem()[1] + 1) % 4) if criterion == "each" else criterion
    images, labels = problem()
    labels = torch.where(labels == 1, 2, labels)
    as_on_a_card(monkeypatch, 4)
    diary = Diary(monkeypatch)
    for events in ([], diary.events):
        diary.events = events
        with Waits(events.append), Reads(events.append):
            attack(GradientAccess(MODEL), images, (labels if isinstance(criterion.classes, int) else problem()[1]), ball,
                   batch_size=7, criterion=criterion)  # fmt: skip
    assert [part for part in diary.between_steps() if part] == []


def test_on_a_cpu_the_host_reads_in_each_step(monkeypatch):
    """The control: what is counted above is there to be counted."""
    diary = Diary(monkeypatch)
    diary.follow(PGD(steps=STEPS), Linf(0.03))
    assert "_local_scalar_dense" in diary.events
    assert diary.between_steps() == []


def test_a_set_is_measured_with_one_read(monkeypatch):
    as_on_a_card(monkeypatch)
    images, labels = problem()
    events = []
    for measure in (lambda size: accuracy(MODEL, (images, labels), batch_size=size),
                    lambda size: predict_logits(MODEL, images, batch_size=size)):  # fmt: skip
        counts = []
        for size in (2, COUNT):
            events.clear()
            with Waits(events.append), Reads(events.append):
                measure(size)
            counts.append(len(events))
        assert counts[0] == counts[1]
    with pytest.raises(NonFiniteError):
        accuracy(Spoilt(), (images.roll(1, 1), labels), batch_size=5)
    with pytest.raises(NonFiniteError):
        predict_logits(Spoilt(), images.roll(1, 1), batch_size=5)


# --- attacks by queries: a card is waited for once a round ---

QUERIES = [
    (NES(samples=4), Linf(0.05)),
    (NES(samples=4, draw="philox"), L2(0.5)),
    (Bandits(tile_size=4), Linf.each([0.03, 0.06] * (COUNT // 2))),
    (Bandits(tile_size=2, draw="philox"), L2(0.5)),
    (Square(draw="philox"), Linf(0.05)),
    (Square(), L2(0.5)),
    (RayS(), Linf(0.05)),
    (HopSkipJump(probes=6, draw="philox"), Linf(0.1)),
    (HopSkipJump(probes=6), L2(0.8)),
    (SurFree(tries=1, memory=3), L2(0.8)),
    (ZOO(coordinates=2, learning_rate=0.1, initial_c=10.0), L2(0.6)),
    (TiledES(tiles=2, strategy="de"), Linf(0.08)),
    (TiledES(tiles=2, strategy="cma", draw="philox"), Linf(0.08)),
    (SparseRS(draw="philox"), L0(2)),
    (Parsimonious(block_size=2, group=3), Linf(0.05)),
]
each_query = pytest.mark.parametrize(("attack", "ball"), QUERIES, ids=[f"{a!r} {b!r}" for a, b in QUERIES])


def queried(attack, ball, *, confirm=0, **options):
    kind = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess
    access = kind(MODEL, per_image=40, confirm=confirm)
    return attack(access, *problem(), ball, seed=4, batch_size=16, **options), access


@pytest.mark.filterwarnings("ignore:.*cannot reach the border")
@pytest.mark.parametrize("confirm", [0, 3])
@each_query
def test_queries_find_the_same_on_a_card(attack, ball, confirm, monkeypatch):
    wanted, asked = queried(attack, ball, confirm=confirm)
    as_on_a_card(monkeypatch)
    found, access = queried(attack, ball, confirm=confirm)
    assert_same(found, wanted)
    assert access.asked(range(COUNT)) == asked.asked(range(COUNT))
    assert wanted.success.any()


@pytest.mark.filterwarnings("ignore:.*cannot reach the border")
@pytest.mark.parametrize(("attack", "ball"), [case for case in QUERIES if not isinstance(case[0], Parsimonious)])
def test_a_round_of_queries_waits_for_nothing(attack, ball, monkeypatch):
    if getattr(attack, "draw", "philox") != "philox":
        attack = replace(attack, draw="philox")
    # Lists of the host that are sent, and compiled code, are the CPU's own.
    plain = partial(streams.words, compiled=False)
    monkeypatch.setattr(streams, "words", lambda *given, compiled: plain(*given))
    monkeypatch.setattr("groundglass.attacks.questions.whole", sent_without_waiting)
    monkeypatch.setattr("groundglass.attacks.draws.whole", sent_without_waiting)
    as_on_a_card(monkeypatch)
    queried(attack, ball)  # what is sent once, is sent here
    events, rounds, step = [], [], type(attack).step

    def watched(attack, live, state, ask):
        events.clear()
        with Waits(events.append), Reads(events.append):
            made = step(attack, live, state, ask)
        rounds.append(list(events))
        return made

    monkeypatch.setattr(type(attack), "step", watched)
    queried(attack, ball)
    assert len(rounds) > 5
    # Sparse-RS must know how many pixels move.
    assert [found for found in rounds if found != ["tolist"] * isinstance(attack, SparseRS)] == []


def sent_without_waiting(values, device="cpu"):
    with untold():
        return whole(values, device)


@pytest.mark.parametrize("access", [ScoreAccess, LabelAccess])
def test_queries_tell_what_is_not_finite_after_the_round(access, monkeypatch):
    as_on_a_card(monkeypatch)
    attack = Square() if access is ScoreAccess else RayS()
    with pytest.raises(NonFiniteError):
        attack(access(Spoilt(), per_image=20), *problem(), Linf(0.05), batch_size=16)
