import pytest
import torch

from groundglass.attacks import PGD, GradientAccess, Linf, paper_eps_to_pixels, pixels_to_paper_eps
from tests.attacks.toy import RowModel

C100 = (0.267, 0.256, 0.276)


def test_the_papers_axis_in_pixels():
    assert paper_eps_to_pixels(0.05, (0.5, 0.5, 0.5)) == 0.025
    assert 255 * paper_eps_to_pixels(0.05, (0.5,) * 3) == pytest.approx(6.375)
    assert paper_eps_to_pixels(0.01, (0.5,) * 3) == 0.005
    assert paper_eps_to_pixels(0.05, C100) == pytest.approx((0.01335, 0.0128, 0.0138))


def test_there_and_back():
    for std in ((0.5,) * 3, C100):
        assert pixels_to_paper_eps(paper_eps_to_pixels(0.03, std), std) == pytest.approx(0.03)
    with pytest.raises(ValueError, match="no place on the paper's axis"):
        pixels_to_paper_eps(8 / 255, C100)
    with pytest.raises(ValueError, match="above 0"):
        paper_eps_to_pixels(0.05, (0.5, 0.0, 0.5))


@pytest.mark.parametrize("std", [(0.5, 0.5, 0.5), C100])
def test_our_pgd_in_pixels_is_the_papers_in_normalised_units(std):
    """Sign steps on normalised images, clipped to eps there, are the same images as ours."""
    mean, scale = torch.tensor(0.45), torch.tensor(std).view(3, 1, 1)
    images = 0.3 + 0.4 * torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    on_normalised = RowModel(seed=3)
    labels = on_normalised((images - mean) / scale).argmax(1)

    start = (images - mean) / scale
    x = start.clone()
    for _ in range(10):
        x.requires_grad_()
        loss = torch.nn.functional.cross_entropy(on_normalised(x), labels, reduction="sum")
        (grad,) = torch.autograd.grad(loss, x)
        x = (start + (x.detach() + 0.01 * grad.sign() - start).clamp(-0.05, 0.05)).detach()

    step = paper_eps_to_pixels(0.01, std)
    attack = PGD(
        steps=10, step_size=max(step) if isinstance(step, tuple) else step, keep="last", stop_when_fooled=False
    )
    ball = Linf(paper_eps_to_pixels(0.05, std))
    access = GradientAccess(lambda pixels: on_normalised((pixels - mean) / scale))
    result = attack(access, images, labels, ball, seed=0)
    assert torch.allclose(result.adversarial, x * scale + mean, atol=1e-6)
    assert bool((ball.norm(result.adversarial - images) > 0.9 * ball.radius).any())
