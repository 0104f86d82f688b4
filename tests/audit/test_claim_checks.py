"""How much a claim may lose to everything that was tried."""

from types import SimpleNamespace

import pytest
import torch

from groundglass.audit.claim_checks import _stands, _stated

IMAGES = 500


def judged(check, claimed: int, standing: int) -> bool | None:
    ledger = SimpleNamespace(
        images=torch.zeros(IMAGES, 1, dtype=torch.float32, device="cpu"),
        standing=list(range(standing)),
        share=lambda count: count / IMAGES,
    )
    left = torch.zeros(IMAGES, dtype=torch.bool, device="cpu")
    left[:claimed] = True
    return check(SimpleNamespace(left=left, stated=claimed / IMAGES), None, ledger)[0]


@pytest.mark.parametrize(
    ("claimed", "standing", "stands", "stated"),
    [
        (20, 0, False, False),  # 4 points, all of them: within a slack of points alone, and yet nothing is left
        (20, 10, True, True),
        (20, 9, False, False),
        (2, 0, True, True),  # two images are chance
        (190, 140, True, False),  # 10 points are within the one slack, not within the other
        (190, 139, False, False),
        (190, 165, True, True),
        (0, 0, True, True),
    ],
)
def test_a_claim_loses_no_more_than_its_slack_and_half_of_itself(claimed, standing, stands, stated):
    assert judged(_stands, claimed, standing) is stands
    assert judged(_stated, claimed, standing) is stated
