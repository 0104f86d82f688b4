"""Studies: each a graph of cells with its recipes and its page; `registry.STUDIES` has them all."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily
from groundglass.studies.registry import ALL, STUDIES, Study, find_study

if TYPE_CHECKING:
    from groundglass.studies.engine.ray import Ray
    from groundglass.studies.engine.run import run_study

__all__ = ["ALL", "STUDIES", "Ray", "Study", "find_study", "run_study"]

__getattr__ = lazily(__name__, {"Ray": "groundglass.studies.engine.ray", "run_study": "groundglass.studies.engine.run"})
