"""Studies: graphs of cells, recipes, and the runner."""

from groundglass.studies.ablation import AblationConfig
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.everything import EverythingConfig
from groundglass.studies.recipes import RECIPES, Recipe, configure
from groundglass.studies.redraws import RedrawConfig
from groundglass.studies.retrieval import RetrievalConfig
from groundglass.studies.run import run_study
from groundglass.studies.scale import ScaleConfig
from groundglass.studies.transfer import TransferConfig
from groundglass.studies.white_box import WhiteBoxConfig

__all__ = [
    "RECIPES",
    "AblationConfig",
    "BlackBoxConfig",
    "EverythingConfig",
    "Recipe",
    "RedrawConfig",
    "RetrievalConfig",
    "ScaleConfig",
    "TransferConfig",
    "WhiteBoxConfig",
    "configure",
    "run_study",
]
