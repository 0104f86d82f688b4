import io

import pytest
from rich.console import Console

from groundglass.terminal import Terminal


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"clean_accuracy": 0.814, "n_test": 100}, "clean accuracy 81.4%"),
        ({"before": 0.814, "untuned": 0.13, "tuned": 0.81}, "before 81.4%, untuned 13.0%, tuned 81.0%"),
        ({"n_images": 1000, "common": 712}, "712 of 1000 images"),
        ({"n_images": 712, "fooled": 700, "gradients": 5}, "700 of 712 fooled"),
        ({"n_images": 712, "correct": 100, "fooled_source": 700}, "100 of 712 right"),
        ({"robust_accuracy": 0.25, "success_rate": 0.5, "n_images": 4, "correct": 1}, "robust accuracy 25.0%"),
        ({"passed": False, "note": "too weak"}, "FAILED: too weak"),
    ],
)
def test_a_cell_says_what_it_found(result, said):
    heard = io.StringIO()
    Terminal(Console(file=heard)).finished("cell", result, 1.25)
    assert heard.getvalue().startswith("  cell: ")
    assert said in heard.getvalue()
    assert heard.getvalue().endswith("1.2 s\n")
    if "robust_accuracy" in result:
        assert "of 4" not in heard.getvalue()
