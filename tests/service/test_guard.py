"""A guard: silent on natural rows, as often as it says; quick to see a retrieval; the same however rows are cut."""

from concurrent.futures import ThreadPoolExecutor
from math import comb

import numpy as np
import pytest
import torch

from groundglass.core import generator
from groundglass.optics.retrieval import METHODS, NaturalRows, SamePairs, SameShares, Scale
from groundglass.service.guard import Finding, GuardSettings, NaturalBits, upper_share
from groundglass.service.looks import LOOKS, Looks

N = 48
CENTRES = torch.rand(6, N, generator=torch.Generator().manual_seed(1)) < 0.33


def natural(rows: int, seed: int, own: int | None = None) -> torch.Tensor:
    """Rows near one of six, with a bit in twenty turned."""
    draw = generator(seed, "natural")
    which = torch.randint(0, 6, (rows,), generator=draw) if own is None else torch.full((rows,), own)
    return (CENTRES[which] ^ (torch.rand(rows, N, generator=draw) < 0.05)).to(torch.uint8)


TRAIN, CALIBRATION = natural(2000, 0), natural(3000, 1)
SETTINGS = GuardSettings(frames=1e4, together=False)


def fitted(**settings) -> NaturalBits:
    return NaturalBits.fit(TRAIN, CALIBRATION, settings=GuardSettings(**{"frames": 1e4, "together": False, **settings}))


GUARD = fitted()


def first(guard: NaturalBits, rows: torch.Tensor) -> int | None:
    """Frames until a fresh stream is found out."""
    (found,) = guard.stakes(guard.factors(rows), [guard.settings.frames])
    return None if found is None else found[0]


def test_every_method_of_retrieval_is_seen_within_a_few_frames():
    for name, make in METHODS.items():
        method = make()
        design = method.design(N, 16 * N, Scale(255, 50.0), seed=0)
        found = first(GUARD, design.bits(0, 200))
        assert found is not None, name
        assert found < 10, name


def test_rows_that_match_shares_are_seen_at_once_and_those_that_match_pairs_later():
    shares, pairs = (first(GUARD, kind(CALIBRATION).draw(500, seed=3)) for kind in (SameShares, SamePairs))
    assert shares is not None
    assert pairs is not None
    assert shares < 10
    assert shares <= pairs < 200


def test_natural_rows_raise_no_more_alarms_than_it_says():
    """Streams of 500 frames: an alarm comes to one with a chance of at most 500 / frames, by Doob."""
    rows = NaturalRows(natural(40_000, 5)).draw(40_000, seed=0)
    factors = GUARD.factors(rows).reshape(80, 500, len(LOOKS))
    for limit in (1e3, 1e4):
        alarms = sum(found is not None for own in factors for found in GUARD.stakes(own, [limit]))
        assert alarms <= 80 * 500 / limit + 3
    # A fair bet or worse, for each score.
    assert (GUARD.factors(rows).mean(0) < 1).all()


def test_a_limit_that_is_higher_is_reached_little_later():
    rows = METHODS["fixed-exposure"]().design(N, 16 * N, Scale(255, 50.0), seed=0).bits(0, 200)
    low, high = GUARD.stakes(GUARD.factors(rows), [1e3, 1e9])
    assert low is not None
    assert high is not None
    assert low[0] < high[0] < low[0] + 10


def test_few_rows_of_a_retrieval_among_natural_ones_are_seen_later_and_fewer_never():
    def mixed(share: float) -> torch.Tensor:
        rows = natural(4000, 8)
        there = torch.rand(4000, generator=torch.Generator().manual_seed(2)) < share
        rows[there] = SameShares(TRAIN).draw(4000, seed=1)[there]
        return rows

    often, seldom, never = (first(GUARD, mixed(share)) for share in (0.5, 0.05, 0.0))
    assert often is not None
    assert seldom is not None
    assert often < seldom
    assert never is None


def test_findings_do_not_depend_on_how_rows_are_cut():
    rows = torch.cat((natural(300, 9), SameShares(TRAIN).draw(30, seed=1), natural(70, 10)))
    told = []
    for size in (1, 7, 64, 400):
        guard = fitted()
        found = [guard.look("a", part) for part in rows.split(size)]
        told.append(next(one for one in found if one is not None))
        assert guard._streams["a"].frames == told_frames(guard, rows)
    assert all(one == told[0] for one in told)
    assert 300 < told[0].frames < 310


def told_frames(guard: NaturalBits, rows: torch.Tensor) -> int:
    whole = NaturalBits(guard.looks, guard.levels, guard.shares, guard.calibrated, guard.settings)
    whole.look("a", rows)
    return whole._streams["a"].frames


def test_a_rows_score_is_the_same_in_any_company():
    rows = torch.cat((natural(300, 9), SameShares(TRAIN).draw(300, seed=1)))
    whole = GUARD.looks.scores(rows)
    for some in (slice(0, 1), slice(17, 83), slice(299, 600)):
        assert np.array_equal(GUARD.looks.scores(rows[some]), whole[some])


def test_scores_are_what_they_say():
    """Against plain arithmetic with the same rounded directions."""
    looks, rows = GUARD.looks, natural(50, 4)
    x = rows.numpy().astype(np.int64)
    squares = (x @ looks.directions.astype(np.int64) - looks.centres) ** 2
    assert np.array_equal(looks._squares(rows), squares.astype(float))
    assert np.array_equal(looks.scores(rows)[:, 0], (x.sum(1) - looks.centres[0]) ** 2)
    pairs = (squares[:, 2:] * looks.weights[2:]).sum(1)
    assert looks.scores(rows)[:, 2] == pytest.approx(pairs)
    # Of rows that it was fitted to: each direction adds a little less than 1, as no variance is taken to be 0.
    assert looks.scores(TRAIN)[:, 2].mean() == pytest.approx(0.85 * N, rel=0.15)


def test_wide_rows_are_seen_by_some_of_their_directions():
    wide = torch.cat([natural(1500, seed) for seed in range(8)], 1)
    looks = Looks.fit(wide)
    assert looks.directions.shape == (8 * N, 192)
    half = torch.randint(0, 2, (50, 8 * N), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert looks.scores(half)[:, 2].min() > looks.scores(wide)[:, 2].max()


def test_clients_have_streams_of_their_own_and_one_together():
    rows = SameShares(TRAIN).draw(40, seed=1)
    alone, together = fitted(), fitted(together=True)
    spread = [(f"token {k}", rows[k : k + 1]) for k in range(40)]
    assert not any(alone.look(*one) for one in spread)
    found = [one for each in spread if (one := together.look(*each)) is not None]
    assert found
    assert all(one.together and one.limit == 2e4 for one in found)


def test_threads_may_look_at_once():
    guard, rows = fitted(), natural(64, 3)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: guard.look(f"client {k % 2}", rows), range(40)))
    assert [guard._streams[f"client {k}"].frames for k in (0, 1)] == [20 * 64] * 2


def test_groups_may_come_in_any_order():
    """One group of natural rows is turned more than the others: alone it is too much for a guard that knows the mixture."""
    odd = natural(150, 20) ^ (torch.rand(150, N, generator=torch.Generator().manual_seed(5)) < 0.12).to(torch.uint8)
    calibration = torch.cat((CALIBRATION, odd))
    groups = [0] * len(CALIBRATION) + [1] * len(odd)
    new = natural(3000, 21) ^ (torch.rand(3000, N, generator=torch.Generator().manual_seed(6)) < 0.12).to(torch.uint8)
    plain, grouped = (NaturalBits.fit(TRAIN, calibration, groups=g, settings=SETTINGS) for g in (None, groups))
    assert first(plain, new) is not None
    assert first(grouped, new) is None
    shares = SameShares(TRAIN).draw(500, seed=3)
    assert (first(grouped, shares) or 500) < 100


@pytest.mark.parametrize(("beyond", "rows", "error"), [(0, 500, 1e-3), (3, 40, 0.05), (40, 40, 0.05), (70, 3000, 1e-4)])
def test_upper_share_is_that_of_clopper_and_pearson(beyond, rows, error):
    share = upper_share(beyond, rows, error)
    if beyond == rows:
        assert share == 1
        return
    chance = sum(comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(beyond + 1))
    assert chance == pytest.approx(error, rel=1e-6)
    if beyond == 0:
        assert share == pytest.approx(1 - error ** (1 / rows))


def test_a_file_brings_back_the_same_guard(tmp_path):
    GUARD.save(tmp_path / "guard")
    again = NaturalBits.load(tmp_path / "guard")
    rows = natural(200, 6)
    assert np.array_equal(again.factors(rows), GUARD.factors(rows))
    assert again.settings == GUARD.settings
    other = NaturalBits.load(tmp_path / "guard", settings=GuardSettings(frames=50))
    assert other.settings.frames == 50
    assert (tmp_path / "guard").stat().st_size < 50_000


def test_what_is_not_bits_or_too_few_is_refused():
    with pytest.raises(ValueError, match="48"):
        GUARD.look("a", torch.zeros(2, 47, dtype=torch.uint8))
    with pytest.raises(ValueError, match="0 or 1"):
        GUARD.look("a", np.full((2, N), 3, dtype=np.uint8))
    with pytest.raises(ValueError, match="too few"):
        NaturalBits.fit(TRAIN[:50], CALIBRATION)
    with pytest.raises(ValueError, match="at least 20"):
        NaturalBits.fit(TRAIN, CALIBRATION[:10])
    with pytest.raises(ValueError, match="groups"):
        NaturalBits.fit(TRAIN, CALIBRATION, groups=[0])
    with pytest.raises(ValueError, match="frames"):
        GuardSettings(frames=0)


def test_a_finding_ends_a_stream_and_no_rows_are_none():
    guard = fitted()
    rows = SameShares(TRAIN).draw(60, seed=1)
    assert guard.look("a", rows[:0]) is None
    one = guard.look("a", rows[:30])
    assert isinstance(one, Finding)
    assert one.name in LOOKS
    assert one.score >= one.limit == 1e4
    again = guard.look("a", rows[30:])
    assert again is not None
    assert again.frames <= 30
