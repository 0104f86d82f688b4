import pytest
import torch

from groundglass.core import check_eps, check_images, check_labels

GOOD = torch.rand(2, 3, 32, 32)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (GOOD * 255, "divide by 255"),
        (GOOD * 2 - 1, r"look normalised.*bounds=\(-1, 1\)"),
        (GOOD * 1.5, "clamp"),
        (GOOD.to(torch.uint8), r"images\.float\(\) / 255"),
        (GOOD[0], "NCHW"),
        (torch.full_like(GOOD, float("nan")), "NaN"),
        (torch.where(GOOD > 0.99, float("nan"), GOOD), "NaN"),
    ],
)
def test_bad_images_are_refused_with_what_to_do(images, match):
    with pytest.raises(ValueError, match=match):
        check_images(images)


def test_rounding_at_the_border_and_empty_batches_are_no_error():
    check_images(GOOD.clone().clamp_(0, 1) - 3e-8)
    check_images(GOOD[:0])
    with pytest.raises(TypeError, match="not ndarray"):
        check_images(GOOD.numpy())


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (torch.tensor([0, 10]), r"0\.\.9, not 0\.\.10"),
        (torch.tensor([-1, 1]), "not -1"),
        (torch.tensor([0.0, 1.0]), "integers"),
        (torch.tensor([1]), "shape"),
    ],
)
def test_bad_labels_are_refused(labels, match):
    with pytest.raises(ValueError, match=match):
        check_labels(labels, count=2, classes=10)


def test_eight_is_not_eight_over_255():
    with pytest.raises(ValueError, match="8/255, not 8"):
        check_eps(8, upper=1, unit="(L-inf)")
    with pytest.raises(ValueError, match="must be in"):
        check_eps(-0.1, upper=1, unit="(L-inf)")
    check_eps(8 / 255, upper=1, unit="(L-inf)")
