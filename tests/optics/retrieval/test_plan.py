"""Which frame is taken when."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.optics.retrieval.closed_form import SparseInputs
from groundglass.optics.retrieval.fixed_exposure import FixedExposure
from groundglass.optics.retrieval.method import Design, Scale
from groundglass.optics.retrieval.plan import HELD_OUT, OVERHEAD, PARTS, SENTINELS, FramePlan

N = 24
SCALE = Scale(255, 55.0)
DESIGNS: dict[str, Design] = {
    "hadamard": FixedExposure().design(N, 12 * N + 3, SCALE, seed=0),
    "one exposure change": SparseInputs().design(N, 5 * N, SCALE, seed=0),
    "many frames": FixedExposure().design(N, 9000, SCALE, seed=0),
}


@pytest.fixture(params=DESIGNS.values(), ids=DESIGNS.keys())
def plan(request: pytest.FixtureRequest) -> FramePlan:
    return FramePlan(request.param, seed=1)


def everything(plan: FramePlan, begin: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and exposures of all frames from `begin` on."""
    shots = list(plan.shots(begin))
    return torch.cat([shot.bits for shot in shots]), torch.cat(
        [torch.full((shot.end - shot.begin,), shot.exposure, dtype=torch.float64) for shot in shots]
    )


def test_every_frame_of_the_design_is_taken_once_in_its_place(plan: FramePlan) -> None:
    bits, exposures = everything(plan)
    design = plan.design
    assert len(plan) == len(bits) == len(design) + OVERHEAD
    assert len(plan.columns) == len(design)
    assert (np.diff(plan.columns) > 0).all()
    assert torch.equal(bits[plan.columns], design.bits(0, len(design)))
    assert torch.equal(exposures[plan.columns], design.exposures())


def test_held_out_inputs_come_first_and_are_of_no_method(plan: FramePlan) -> None:
    bits, exposures = everything(plan)
    assert tuple(plan.held_out.shape) == (HELD_OUT, N)
    assert torch.equal(bits[:HELD_OUT], plan.held_out)
    assert plan.columns[0] == HELD_OUT
    assert (exposures[:HELD_OUT] == 1).all()
    assert plan.held_out.double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert not torch.equal(plan.held_out, FramePlan(plan.design, seed=2).held_out)
    assert torch.equal(plan.held_out, FramePlan(plan.design, seed=1).held_out)


def test_sentinels_are_the_same_inputs_again_after_every_part(plan: FramePlan) -> None:
    bits, exposures = everything(plan)
    assert plan.sentinels.shape == (1 + PARTS, SENTINELS)
    assert plan.sentinels[0].tolist() == list(range(SENTINELS))
    for places in plan.sentinels:
        assert torch.equal(bits[places], plan.held_out[:SENTINELS])
        assert (exposures[places] == 1).all()
        assert (np.diff(places) == 1).all()
    assert plan.sentinels[-1][-1] == len(plan) - 1
    # About as many frames of the design before each of them.
    between = np.diff(plan.sentinels[1:, 0]) - SENTINELS
    assert between.max() - between.min() <= 1
    # All other frames are of the design or held-out.
    places = np.concatenate([np.arange(HELD_OUT), plan.columns, plan.sentinels[1:].ravel()])
    assert sorted(places.tolist()) == list(range(len(plan)))


@given(name=st.sampled_from(sorted(DESIGNS)), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_shots_cover_what_is_left_in_order_from_anywhere(name: str, share: float) -> None:
    plan = FramePlan(DESIGNS[name], seed=1)
    begin = int(share * len(plan))
    bits, exposures = everything(plan)
    at = begin
    for shot in plan.shots(begin):
        assert shot.begin == at < shot.end
        assert len(shot.bits) == shot.end - shot.begin <= 1024
        assert shot.bits.dtype == torch.uint8
        assert torch.equal(shot.bits, bits[shot.begin : shot.end])
        assert (exposures[shot.begin : shot.end] == shot.exposure).all()
        at = shot.end
    assert at == len(plan)


def test_shots_stop_where_readings_are_looked_at(plan: FramePlan) -> None:
    """After the held-out inputs, and around each round of sentinels."""
    shots = [(shot.begin, shot.end) for shot in plan.shots(0)]
    assert shots[0] == (0, HELD_OUT)
    for places in plan.sentinels[1:]:
        assert (places[0], places[-1] + 1) in shots


def test_a_finished_plan_has_no_shots(plan: FramePlan) -> None:
    assert not list(plan.shots(len(plan)))


def test_the_exposures_of_sparse_inputs_are_in_the_plan() -> None:
    design = DESIGNS["one exposure change"]
    light = {shot.exposure for shot in FramePlan(design, seed=1).shots(0)}
    assert light == {1.0, float(design.exposures()[0]), float(design.exposures()[-1])}
    assert len(light) == 3
