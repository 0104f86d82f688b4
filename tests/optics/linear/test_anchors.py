"""Anchors: what a DMD can show, and fields with the law of U."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.optics.linear.anchors import AnchorDesign, most_anchors, turned


@given(n=st.integers(16, 90), spare=st.integers(0, 40), anchors=st.integers(2, 15), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_anchors_share_no_bit_with_signals(n: int, spare: int, anchors: int, seed: int) -> None:
    spare = 0 if spare < 8 else spare
    design = AnchorDesign.draw(n + spare, n, anchors, seed=seed)
    assert (design.blocks.sum(0) == 1).all(), "every input is in one block"
    sizes = design.blocks.sum(1)
    assert len(design.parts) == (1 if spare else 2)
    covered = torch.stack([part.region for part in design.parts]).sum(0)
    assert torch.equal(covered, (torch.arange(n + spare) < n).long()), "signals are in one part each"
    for part in design.parts:
        shown = part.anchors @ design.blocks
        assert shown.shape == (anchors + 1, n + spare)
        assert int(shown.max()) == 1
        assert not (shown & part.region).any()
        assert not shown[0].any()
        assert len(shown.unique(dim=0)) == anchors + 1
        assert torch.equal(design.blocks[part.own].sum(0), part.region.long())
        assert shown.sum(1).max() <= 3 * sizes.max()


def test_no_more_anchors_than_there_are() -> None:
    most = 56 + 8
    assert len(AnchorDesign.draw(64, 64, most, seed=0).parts[0].anchors) == most + 1
    with pytest.raises(ValueError, match=f"at most {most}"):
        AnchorDesign.draw(64, 64, most + 1, seed=0)
    with pytest.raises(ValueError, match="room"):
        AnchorDesign.draw(3, 3, 2, seed=0)
    with pytest.raises(ValueError, match="room"):
        AnchorDesign.draw(64, 63, 2, seed=0)


@pytest.mark.parametrize("n", range(4, 20))
def test_the_number_that_an_error_names_can_be_had(n: int) -> None:
    most = most_anchors(n)
    assert len(AnchorDesign.draw(n, n, most, seed=0).parts[0].anchors) == most + 1
    with pytest.raises(ValueError, match=f"at most {most} here"):
        AnchorDesign.draw(n, n, 100, seed=0)


@pytest.mark.parametrize(("anchors", "apart"), [(2, 6), (3, 4)])
def test_few_anchors_differ_as_much_as_they_can(anchors: int, apart: int) -> None:
    for seed in range(8):
        chosen = AnchorDesign.draw(64, 64, anchors, seed=seed).parts[0].anchors[1:]
        assert torch.pdist(chosen.float(), p=1).min() == apart


def test_rows_get_a_phase_and_a_conjugation_by_lot() -> None:
    random = torch.Generator().manual_seed(0)
    fields = torch.randn(4000, 16, dtype=torch.complex64, generator=random)
    # As a retrieval may leave them: the first block real and positive, the second above the real axis.
    fields = fields * fields[:, :1].sgn().conj()
    fields = torch.where(fields[:, 1:2].imag < 0, fields.conj(), fields)
    found, real = turned(fields, seed=1)
    assert not real
    assert torch.allclose(found.abs(), fields.abs().double())
    assert found[:, 0].real.square().mean() == pytest.approx(0.5, abs=0.04)
    assert (found[:, 0] * found[:, 1].conj()).imag.mean() == pytest.approx(0, abs=0.04)
    same = (found[:, 1] * found[:, 0].conj()).imag > 0
    assert same.double().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_real_matrix_is_found_to_be_real_with_noise_too(noise: float) -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 16, generator=random)
    phases = torch.polar(torch.ones(500), 6.28 * torch.rand(500, generator=random))
    spread = noise * torch.randn(500, 16, dtype=torch.complex64, generator=random)
    found, real = turned(rows * phases[:, None] + spread, seed=1)
    assert real
    assert (found.real.abs() - rows.abs()).square().mean() <= noise**2 + 1e-10
    assert not found.imag.any()
    signs = (found.real * rows).sum(1).sign()
    assert signs.mean() == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_a_complex_matrix_is_not_taken_for_a_real_one(rows: int) -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(2000 // rows):
        assert not turned(torch.randn(rows, 16, dtype=torch.complex64, generator=random), seed=1)[1]
