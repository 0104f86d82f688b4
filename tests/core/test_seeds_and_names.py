import pytest
import torch

from groundglass.core import derive_seed, generator, lookup


def test_streams_differ_by_path_and_repeat():
    paths = [(0,), (1,), (0, "a"), (0, "a", 1), (0, "a", "1"), (0, "a/1"), (0, 1, "a")]
    seeds = [derive_seed(*p) for p in paths]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [derive_seed(*p) for p in paths]
    assert all(0 <= s < 2**63 for s in seeds)
    # The same on every machine, in every version: old results can be repeated.
    assert derive_seed(0, "golden") == 621215572941048530
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))


def test_the_nearest_name_is_offered():
    with pytest.raises(ValueError, match="did you mean 'laptop'"):
        lookup("recipe", "labtop", {"laptop": 1, "paper": 2})
    with pytest.raises(ValueError, match="did you mean 'VGG-OPU'"):
        lookup("network", "vgg-opu", {"VGG-16": 1, "VGG-OPU": 2})
    with pytest.raises(ValueError, match=r"'zzz'\. There are: laptop, paper"):
        lookup("recipe", "zzz", {"laptop": 1, "paper": 2})
    assert lookup("recipe", "paper", {"laptop": 1, "paper": 2}) == 2
