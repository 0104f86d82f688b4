import pytest
import torch

from groundglass.attacks.same_function import rounds_coarsely

CARD = torch.device("cuda", 0)


@pytest.fixture
def precision():
    """Sets what may be rounded, in torch's newer words."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.conv.fp32_precision, matmul.fp32_precision

    def put(conv, product):
        cudnn.conv.fp32_precision, matmul.fp32_precision = conv, product

    yield put
    put(*before)


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9")
def test_tf32_is_seen_in_convolutions_and_in_products(precision):
    for conv, product, coarse in (("tf32", "ieee", True), ("ieee", "tf32", True), ("ieee", "ieee", False)):
        precision(conv, product)
        assert rounds_coarsely(CARD) == coarse
        assert not rounds_coarsely(torch.device("cpu"))


def test_an_older_torch_says_it_in_other_words(monkeypatch):
    class Old:
        allow_tf32 = False

    matmul = Old()
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", Old())
    assert not rounds_coarsely(CARD)
    matmul.allow_tf32 = True
    assert rounds_coarsely(CARD)
