"""Where `groundglass run` has its cells run."""

import pytest

from groundglass import cli, studies
from groundglass.studies import Ray

RUN = ["run", "white-box", "--recipe", "quick", "--data", "shapes"]


@pytest.fixture
def asked(monkeypatch):
    """What `run_study` is asked for, which does nothing then."""
    found = {}

    def run_study(study, **options):
        found.update(options)
        raise ValueError("not here")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(studies, "run_study", run_study)
    return found


def test_ray_is_asked_for_by_name_and_address(asked, tmp_path):
    ray = ["--executor", "ray", "--address", "head:6379", "--jobs", "3", "--cards", "0.5"]
    assert cli.main([*RUN, "--out", str(tmp_path / "run"), *ray]) == 1
    assert asked["executor"] == Ray("head:6379", jobs=3, cards=0.5)
    assert cli.main([*RUN, "--out", str(tmp_path / "run"), "--executor", "ray"]) == 1
    assert asked["executor"] == Ray("local")
    assert cli.main([*RUN, "--out", str(tmp_path / "run")]) == 1
    assert asked["executor"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--address", "auto"], "--address is for --executor ray"),
        (["--executor", "ray", "--cards", "2"], "`cards` (=2) must be in (0, 1]"),
        (["--executor", "ray", "--address", "head"], "HOST:PORT"),
    ],
)
def test_what_does_not_fit_is_said(options, said, asked, tmp_path, capsys):
    assert cli.main([*RUN, "--out", str(tmp_path / "run"), *options]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not asked
    assert not (tmp_path / "run").exists()
