"""A cell that trains by another credit assignment than hybrid DFA."""

from dataclasses import replace
from types import SimpleNamespace

from groundglass.optics import SimulatedOPU
from groundglass.studies import kit
from groundglass.studies.cells import network
from groundglass.studies.engine.cell import key_of
from tests.studies.tiny import DATA, MAKERS


def test_a_cell_trains_by_the_credit_assignment_that_it_names(monkeypatch):
    config = MAKERS["transfer"]()
    cell = kit.hybrid_network(config, DATA, "VGG-OPU", kit.device_cell(config))
    device = SimulatedOPU.create(cell.spec.device_in, cell.spec.device_out, seed=1)
    context = SimpleNamespace(device=lambda record: device, where="cpu")
    monkeypatch.setattr(network, "train_cell", lambda cell, model, spec, credit, context: credit)

    def name(credit, seed=0):
        return replace(cell, credit=credit, seed=seed).run([None], context).name

    assert name("hybrid-dfa") == cell.credit == "hybrid-dfa"
    assert name("direct-feedback").startswith("direct-feedback, seed")
    assert name("direct-feedback") == name("direct-feedback") != name("direct-feedback", seed=1)
    assert name("estimated-derivative").startswith("estimated-derivative, ")
    credits = ("hybrid-dfa", "sign-symmetry", "estimated-derivative")
    assert len({key_of(replace(cell, credit=credit)) for credit in credits}) == 3
