from dataclasses import replace

import pytest

from groundglass.studies import STUDIES, find_study
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.planned import planned
from groundglass.studies.engine.run import _check_names as check_names
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, every_study, everything

pytestmark = pytest.mark.slow

STUDY = "all"


class TestContract(Contract):
    study = STUDY

    def test_the_plan_is_what_is_recorded(self, finished):
        """Its checks are those of all studies; that each has its own is below."""
        plan = finished.manifest["cells"]
        assert [cell["key"] for cell in plan] == [record.key for record in finished.records]

    # The studies of which it is made are tested for these.
    test_an_interruption_changes_nothing = None
    test_checks_pass_and_fail_as_they_must = None


def test_each_cell_belongs_to_the_studies_whose_plan_has_it(finished):
    config = everything()
    owners = {}
    for study in STUDIES:
        for cell in study.cells(config.studies[study.name], DATA) if study.name in config.studies else ():
            owners.setdefault(key_of(cell), []).append(study.name)
    assert {cell["key"]: cell["studies"] for cell in finished.manifest["cells"]} == owners
    assert {r.key: finished.studies(r.key) for r in finished.records} == {k: frozenset(v) for k, v in owners.items()}
    for study in STUDIES:
        assert {r.key for r in finished.of(study.name, maybe=True).records} == {
            k for k, names in owners.items() if study.name in names
        }
        checks = finished.of(study.name, maybe=True).frames.get("checks", ())
        assert len(checks) == (len(getattr(study.plan, "CHECKS", ())) if study.name in config.studies else 0)


def test_each_network_is_trained_once():
    plan = [cell for cell in planned(find_study("all"), every_study(), DATA)[1] if cell["kind"] == "train"]
    owned = {cell["name"]: set(cell["studies"]) for cell in plan}
    assert len(owned) == len(plan), "no name twice"
    # The first studies share two, transfer and redraw the source, and three the features of the paper's first stage.
    assert owned["VGG-16"] == every_study().studies.keys() - {"redraw", "noise", "service"}
    attacked = {"white-box", "black-box", "redraw", "retrieval", "service"}
    assert owned["VGG-OPU"] == attacked | {"adversarial-training", "defences"}
    assert owned["VGG-16 source"] == {"transfer", "extraction", "redraw", "ablation"}
    assert owned["VGG-DFA"] == {"transfer", "extraction", "ablation", "scale"}


@pytest.mark.parametrize(
    ("study", "change"), [("transfer", {"seed": 1}), ("ablation", {"audit_images": 6}), ("redraw", {"data": "cifar10"})]
)
def test_studies_of_another_seed_data_set_or_audit_are_refused(study, change):
    whole = every_study()
    studies = {**whole.studies, study: replace(whole.studies[study], **change)}
    with pytest.raises(ValueError, match=f"{study} has another `{next(iter(change))}`"):
        replace(whole, studies=studies)


@pytest.mark.parametrize(("study", "change"), [("black-box", {"width": 0.1}), ("redraw", {"device_in": 96})])
def test_two_networks_of_one_name_are_refused(study, change):
    """By the plan: their files would be one."""
    whole = every_study()
    config = replace(whole, studies={**whole.studies, study: replace(whole.studies[study], **change)})
    with pytest.raises(ValueError, match="two networks called"):
        check_names(planned(find_study("all"), config, DATA)[0])
