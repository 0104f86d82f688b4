import pytest
import torch
from torch import nn

from groundglass.attacks import L2, Bandits, Linf
from groundglass.attacks.bandits import _AHEAD
from groundglass.core import generator
from tests.attacks.toy import RecordedScores, RowModel

SHAPE = (3, 8, 8)
SEED, STEPS = 11, 20
# Numbers in the set: random streams depend on them.
NUMBERS = [4, 9]


class Loss:
    """A smooth model that nothing fools within reach: the margin of class 0 is its own function of the image."""

    def __init__(self):
        self.body = RowModel(seed=6, size=3 * 8 * 8)

    def __call__(self, x):
        with torch.no_grad():
            return self.body(x) + torch.tensor([8.0, 0.0, 0.0])

    def margin(self, x):
        logits = self(x[None])[0].double()
        return max(float(logits[1]), float(logits[2])) - float(logits[0])


def images():
    return 0.3 + 0.4 * torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def ran(attack, ball, steps=STEPS):
    access = RecordedScores(Loss(), per_image=1 + 3 * steps)
    result = attack(access, images(), torch.zeros(2, dtype=torch.int64), ball, seed=SEED, indices=NUMBERS)
    assert not bool(result.success.any())
    return access.kept, result


def tiled(grid, tile):
    """The original's nearest upsampling."""
    assert grid.shape[-1] == tile
    return nn.functional.interpolate(grid[None], size=SHAPE[1:], mode="nearest")[0]


def exponentiated(prior, grad, rate):
    """The prior as 2 p - 1, with p in [0, 1] the weight of +1 against -1 (section 3.2 of the paper)."""
    p = (prior + 1) / 2
    up, down = p * torch.exp(rate * grad), (1 - p) * torch.exp(-rate * grad)
    return 2 * up / (up + down) - 1


def paper(attack, ball, x0, number, loss):
    """Algorithms 1 to 3 of Ilyas, Engstrom and Madry 2019, for one image: the probes and the iterates."""
    delta, eta, rate = attack.exploration, attack.fd_eta, attack.online_lr
    tile = min(8, attack.tile_size)
    x, prior = x0.double(), torch.zeros(3, tile, tile, dtype=torch.float64)
    probes, path = [], []
    for step in range(STEPS):
        if step % _AHEAD == 0:  # noise is drawn for some steps at a time
            drawn = torch.randn(_AHEAD, 3, tile, tile, generator=generator(SEED, "bandits", number, step)).double()
        u = drawn[step % _AHEAD]
        u = u / (3 * tile * tile) ** 0.5
        both = []
        for sign in (1, -1):
            direction = tiled(prior + sign * delta * u, tile)
            probe = (x + eta * direction / direction.norm()).clamp(0, 1)
            probes.append(probe)
            both.append(loss.margin(probe.float()))
        grad = (both[0] - both[1]) / (delta * eta) * delta * u
        if isinstance(ball, Linf):
            prior = exponentiated(prior, grad, rate)
            x = x + attack.step_size * tiled(prior, tile).sign()
            x = x0 + (x - x0).clamp(-ball.radius, ball.radius)
        else:
            prior = prior + rate * grad
            x = x + attack.step_size * tiled(prior, tile) / tiled(prior, tile).norm()
            move = x - x0
            x = x0 + move * min(1.0, ball.radius / float(move.norm()))
        x = x.clamp(0, 1)
        path.append(x)
    return torch.stack(probes), torch.stack(path)


@pytest.mark.parametrize("tile_size", [3, 4, 5, 16])
@pytest.mark.parametrize("ball", [Linf(0.04), L2(0.6)], ids=repr)
def test_it_follows_the_papers_formulas(ball, tile_size):
    attack = Bandits(tile_size=tile_size, step_size=0.01 if isinstance(ball, Linf) else 0.1, online_lr=1, loss="margin")
    kept, _ = ran(attack, ball)
    for number, x0 in zip(NUMBERS, images(), strict=True):
        probes, path = paper(attack, ball, x0, number, Loss())
        assert len(kept(number, "loss")) == 2 * STEPS
        assert torch.allclose(kept(number, "loss").double(), probes, atol=1e-5)
        assert torch.allclose(kept(number, "check")[1:].double(), path, atol=1e-5)


@pytest.mark.parametrize("ball", [Linf(0.04), L2(0.6)], ids=repr)
def test_every_probe_is_a_move_of_length_fd_eta_constant_in_every_tile(ball):
    kept, _ = ran(Bandits(tile_size=4, fd_eta=0.07), ball, steps=4)
    starts = kept(9, "check")[:4].repeat_interleave(2, 0)
    moves = kept(9, "loss") - starts
    assert moves.flatten(1).norm(dim=1).tolist() == pytest.approx([0.07] * 8, rel=1e-4)
    tiles = moves.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert torch.allclose(tiles, tiles[..., :1].expand_as(tiles), atol=1e-6)
    assert float((tiles[..., 0] - tiles[:, :, :1, :1, 0]).abs().max()) > 1e-3


def test_the_first_probes_are_opposite_and_later_ones_share_the_prior():
    kept, _ = ran(Bandits(tile_size=4, exploration=0.01, online_lr=10, loss="margin"), L2(0.6), steps=6)
    starts, probes = kept(4, "check")[:6], kept(4, "loss").view(6, 2, *SHAPE)
    first, second = (probes - starts[:, None]).flatten(2).unbind(1)
    alike = torch.cosine_similarity(first, second, dim=1)
    assert float(alike[0]) == pytest.approx(-1, abs=1e-4)
    assert float(alike[-1]) > 0.5, "there is no time prior"


def test_the_prior_learns_the_gradient():
    """On the tiles, after many steps, it points where the gradient does; noise would by 1 / sqrt(48) = .14."""
    loss = Loss()
    kept, result = ran(Bandits(tile_size=4, step_size=0.001, online_lr=1, loss="margin"), L2(0.6), steps=150)
    for row, number in enumerate(NUMBERS):
        x = kept(number, "check")[-1].clone().requires_grad_()
        logits = loss.body(x[None])[0]
        (grad,) = torch.autograd.grad(logits[1:].max() - logits[0], x)
        grad = tiled(nn.functional.avg_pool2d(grad[None], 2)[0], 4)
        move = kept(number, "check")[-1] - kept(number, "check")[-2]
        assert float((move * grad).sum() / (move.norm() * grad.norm())) > 0.5
        assert float(result.loss[row]) > loss.margin(images()[row])


def test_a_saturated_prior_stays_finite_and_can_turn_round():
    """A slope of thousands takes the prior to +-1, where exp would overflow; when the slope turns, so does the move."""

    weight = torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1)

    class Turning:
        calls = 0

        def __call__(self, x):
            Turning.calls += 1
            steep = 5000.0 if Turning.calls < 12 else -20000.0
            score = steep * (weight * (x - 0.5)).flatten(1).sum(1)
            return torch.stack([torch.full_like(score, 1e7), score], dim=1)

    access = RecordedScores(Turning(), per_image=1 + 3 * 30)
    grey = torch.full((1, *SHAPE), 0.5)
    attack = Bandits(tile_size=1, step_size=0.001, online_lr=1, loss="margin")
    attack(access, grey, torch.tensor([0]), Linf(0.2), seed=SEED)
    path = access.kept(0, "check")
    assert bool(torch.isfinite(path).all())
    gains = ((path[1:] - path[:-1]) * weight).flatten(1).sum(1)
    assert float(gains[2]) > 0
    assert float(gains[-1]) < 0
