"""Inputs that nobody designed: what they look like, and that U comes out of them."""

import pytest
import torch

from groundglass.core import generator
from groundglass.optics import Camera, DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import (
    INPUT_SOURCES,
    GivenInputs,
    NaturalRows,
    SamePairs,
    SameShares,
    Scale,
    retrieve,
    row_errors,
)
from groundglass.optics.retrieval.given_inputs import natural_error
from groundglass.optics.retrieval.plan import HELD_OUT

N, M = 32, 12
DEVICE = SimulatedOPU.create(N, M, seed=5)


def clustered(rows: int, seed: int = 0) -> torch.Tensor:
    """Rows near one of six, with a bit in ten turned; a third of the bits on. The six are the same for every seed."""
    centres = torch.rand(6, N, generator=torch.Generator().manual_seed(1)) < 0.33
    draw = generator(seed, "rows")
    own = centres[torch.randint(0, 6, (rows,), generator=draw)]
    return (own ^ (torch.rand(rows, N, generator=draw) < 0.1)).to(torch.uint8)


NATURAL = clustered(4000)
each = pytest.mark.parametrize("source", INPUT_SOURCES.values(), ids=lambda one: one.name)


@each
def test_draws_are_bits_of_the_seed(source):
    one, same, other = (source(NATURAL).draw(50, seed=seed) for seed in (3, 3, 4))
    assert (one.shape, one.dtype, int(one.max())) == ((50, N), torch.uint8, 1)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_natural_rows_are_each_given_once():
    found = NaturalRows(NATURAL[:40]).draw(100, seed=0)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, NATURAL[:40].tolist()))


def correlation(bits):
    return torch.corrcoef(bits.T.float()).fill_diagonal_(0)


def test_shares_and_pairs_are_matched_as_they_say():
    want = NATURAL.float().mean(0)
    pairs, shares = (kind(NATURAL).draw(4000, seed=1) for kind in (SamePairs, SameShares))
    for drawn in (pairs, shares):
        assert (drawn.float().mean(0) - want).abs().max() < 0.05
    # Of independent bits none correlate; of the others those that did.
    assert correlation(shares).abs().max() < 0.1
    both = torch.stack((correlation(pairs).flatten(), correlation(NATURAL).flatten()))
    assert torch.corrcoef(both)[0, 1] > 0.95


@each
@pytest.mark.parametrize("bits", [8, None])
def test_u_comes_out_of_inputs_that_look_natural(source, bits):
    device = SimulatedOPU.create(N, M, seed=5, camera=Camera(bits=bits))
    access = DeviceAccess(device)
    found = retrieve(access, GivenInputs(source(NATURAL)), frames=16 * N, seed=0)
    errors = row_errors(found.matrix, true_matrix(device))
    assert errors.median() < 0.05
    assert (natural_error(found.matrix, true_matrix(device), clustered(200, seed=9)) < 0.05).mean() > 0.7
    # The attacker knows it too.
    assert abs((errors > 0.2).float().mean() - found.told_wrong.float().mean()) < 0.2


def test_no_frame_of_such_a_retrieval_is_half_on(monkeypatch):
    seen = []
    access = DeviceAccess(DEVICE)
    whole = access.measure
    monkeypatch.setattr(access, "measure", lambda bits, **k: (seen.append(bits), whole(bits, **k))[1])
    retrieve(access, GivenInputs(NaturalRows(NATURAL)), frames=16 * N, seed=0, rows=2)
    rows = set(map(tuple, NATURAL.tolist()))
    assert all(tuple(row) in rows for row in torch.cat(seen).tolist())
    assert sum(map(len, seen)) == 16 * N


def test_a_row_is_the_same_in_any_company_but_for_its_last_digits():
    method = GivenInputs(SameShares(NATURAL))
    scale = Scale(255, DEVICE.mean_reading)
    design = method.design(N, 16 * N, scale, seed=0)
    readings = DEVICE.measure(design.bits(0, len(design))).T.contiguous()
    found = method.solve(design, readings, scale, seed=0)
    some = torch.tensor([7, 2])
    assert row_errors(method.solve(design, readings[some], scale, seed=0), found[some]).max() < 1e-3


def test_inputs_that_never_vary_are_not_found_and_hurt_no_other():
    dead = NATURAL.clone()
    dead[:, :3] = 0
    found = retrieve(DeviceAccess(DEVICE), GivenInputs(NaturalRows(dead)), frames=16 * N, seed=0)
    truth = true_matrix(DEVICE)
    assert found.matrix[:, :3].abs().max() < 0.2 * truth.abs().mean()
    assert row_errors(found.matrix[:, 3:], truth[:, 3:]).median() < 0.05


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="0 and 1"):
        NaturalRows(torch.full((4, 4), 2, dtype=torch.uint8))
    scale = Scale(255, 50.0)
    with pytest.raises(ValueError, match="32 bits"):
        GivenInputs(NaturalRows(NATURAL)).design(64, 1000, scale, seed=0)
    few = NaturalRows(NATURAL[: 4 * N + HELD_OUT - 1])
    with pytest.raises(ValueError, match="too few"):
        GivenInputs(few).design(N, 1000, scale, seed=0)


def test_a_repr_names_the_rows_and_shows_none():
    one, other = (repr(NaturalRows(clustered(50, seed=seed))) for seed in (0, 1))
    assert one != other
    assert len(one) < 80
