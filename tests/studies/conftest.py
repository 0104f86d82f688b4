"""The finished run of a study, made once for all tests of its module."""

from collections.abc import Iterator

import pytest

from groundglass.results import Run
from tests.studies.tiny import DATA, enter, run


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[None]:
    """While a module's tests run, its STUDY has the recipe "tiny", on the module's DATA if it has any."""
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, request.module.STUDY, data=getattr(request.module, "DATA", DATA))
        yield


@pytest.fixture(scope="module")
def finished(world: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The study's finished run. No test changes it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(request.module.STUDY, folder)
    return Run.open(folder)
