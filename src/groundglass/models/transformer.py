"""A small vision transformer for 32 x 32 images, at any width (Dosovitskiy et al. 2021).

Differences from the paper's: patches of 4 pixels; six blocks, whose two linear layers have twice the width between
them, not four times; the mean over all tokens in place of a class token (Beyer, Zhai and Kolesnikov 2022).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.models.classifier import Classifier
from groundglass.models.scaled import scaled

_PATCH, _BLOCKS, _HEADS, _EACH, _INSIDE = 4, 6, 12, 32, 2


def _linear(incoming: int, outgoing: int) -> nn.Linear:
    linear = nn.Linear(incoming, outgoing, dtype=torch.float32, device="cpu")
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, dtype=torch.float32, device="cpu")


class Patches(nn.Module):
    """Patches as tokens, each with what is learned of its place: [batch, channels, h, w] -> [batch, tokens, width].

    At the lower and right edge zeros fill up the last patches.
    """

    def __init__(self, channels: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        height, breadth = size
        self._more = (0, -breadth % _PATCH, 0, -height % _PATCH)
        self.project = nn.Conv2d(channels, width, _PATCH, _PATCH, dtype=torch.float32, device="cpu")
        self.place = nn.Parameter(torch.empty(1, _tokens(size), width, dtype=torch.float32, device="cpu"))
        nn.init.trunc_normal_(self.place, std=0.02)

    def forward(self, x: Tensor) -> Float[Tensor, "batch tokens width"]:
        tokens: Tensor = self.project(F.pad(x, self._more) if any(self._more) else x)
        return tokens.flatten(2).transpose(1, 2) + self.place


class Attention(nn.Module):
    """Every token looks at every other (Vaswani et al. 2017): [batch, tokens, width], the same shape out.

    The weights of query, key and value are the module's own, as in torch's `MultiheadAttention`.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        width = heads * _EACH
        made = _linear(width, 3 * width)
        self.heads, self.in_proj_weight, self.in_proj_bias = heads, made.weight, made.bias
        self.out_proj = _linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        each = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(batch, tokens, 3, self.heads, _EACH)
        query, key, value = each.permute(2, 0, 3, 1, 4)
        # Not torch's fused kernel: its gradient in bfloat16 takes several times as long on a CPU.
        seen = torch.softmax(query * _EACH**-0.5 @ key.transpose(-2, -1), -1) @ value
        out: Tensor = self.out_proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        return out


class TransformerBlock(nn.Module):
    """Attention, then two linear layers on each token, each behind a norm and added to what came in."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        width = heads * _EACH
        self.attend = nn.Sequential(_norm(width), Attention(heads))
        inside = _INSIDE * width
        self.think = nn.Sequential(_norm(width), _linear(width, inside), nn.GELU(), _linear(inside, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(x)
        out: Tensor = x + self.think(x)
        return out


class MeanOfTokens(nn.Module):
    """[batch, tokens, width] -> [batch, width]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def _heads(width: float) -> int:
    return max(1, round(_HEADS * width))


def taken(width: float) -> int:
    """Features in front of the head: of a token."""
    return _heads(width) * _EACH


def largest(width: float, size: tuple[int, int] | None) -> int:
    """Weights of the largest layer, or of all places."""
    return taken(width) * max(3 * taken(width), _tokens(size))


def _tokens(size: tuple[int, int] | None) -> int:
    height, breadth = size or (32, 32)
    return -(-height // _PATCH) * -(-breadth // _PATCH)


def _features(width: float, channels: int, size: tuple[int, int]) -> nn.Sequential:
    heads = _heads(width)
    blocks = [TransformerBlock(heads) for _ in range(_BLOCKS)]
    return nn.Sequential(Patches(channels, heads * _EACH, size), *blocks, _norm(heads * _EACH), MeanOfTokens())


def multiplications(width: float, *, channels: int = 3, size: tuple[int, int] | None = None) -> int:
    """Of all products of matrices, for one image."""
    tokens, d = _tokens(size), taken(width)
    of_a_token = (4 + 2 * _INSIDE) * d * d + 2 * tokens * d
    return tokens * (_PATCH * _PATCH * channels * d + _BLOCKS * of_a_token)


def vit(
    width: float = 1.0,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dropout: float = 0.0,
    size: tuple[int, int] | None = None,
    seed: int,
) -> Classifier:
    """A vision transformer: patches of 4 x 4 pixels, six blocks of attention, a norm, the mean over tokens, and a linear `head`.

    Args:
        width: factor on the 12 heads of 32 features; 1 is as wide as the literature's ViT-S.
        classes: logits.
        mean, std: of the data set, one a channel; applied inside.
        dropout: in front of the head, in [0, 1).
        size: height and width of the images, pixels; None: 32 x 32.
        seed: of the initial weights.

    Raises:
        ValueError: an argument that cannot be.
    """
    shared: dict[str, Any] = {"classes": classes, "mean": mean, "std": std, "dropout": dropout, "seed": seed}
    return scaled("vit", _features, width, taken=taken, size=(32, 32) if size is None else size, **shared)
