"""What every study keeps to."""

import json
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groundglass.core.schema import plain, written
from groundglass.results import Record, Run
from groundglass.results.kinds import AUDIT, CHECK, KINDS
from groundglass.studies import find_study
from groundglass.studies.cells import network as network_module
from groundglass.studies.cells.audit import AuditCell
from groundglass.studies.cells.check import Found
from groundglass.studies.engine.cell import Outcome, key_of
from tests.studies.tiny import DATA, DEVICE_SEED, MAKERS, Listener, fork_workers, results, run


class Contract:
    """Tests of a study, each with the `finished` run of its module.

    Attributes:
        study: its name.
        stop_at: the run is interrupted at the first cell with this in its name.
        reuses: the interrupted run takes over the networks of the finished one; else it trains them again.
        audits_again: the interrupted run audits them again; else it takes over that too, as audits take long and
            tests/audit interrupts them.
        jobs: processes of the run that is interrupted; it goes on in one.
        told: of each check of the study, in order: records that pass, and records that must not.
        refused: changes of a setting that cannot be, with what is said.
    """

    study: str
    stop_at: str
    reuses = True
    audits_again = False
    jobs = 1
    told: Sequence[tuple[Sequence[Record], Sequence[Record]]] = ()
    refused: Sequence[tuple[dict[str, Any], str]] = ()

    def test_the_plan_is_what_is_recorded(self, finished: Run) -> None:
        plan = finished.manifest["cells"]
        assert [(cell["key"], cell["name"]) for cell in plan] == [(r.key, r.name) for r in finished.records]
        place = {cell["key"]: position for position, cell in enumerate(plan)}
        assert all(place[key] < place[r.key] for r in finished.records for key in r.inputs), "inputs come first"
        names = [r.name for r in finished.records if r.kind in ("train", "redraw", "randomise")]
        assert len(set(names)) == len(names)
        checks = getattr(find_study(self.study).plan, "CHECKS", ())
        assert [e.config.check for e in finished.entries(CHECK)] == [check.name for check in checks]

    def test_what_a_cell_returns_is_what_its_record_reads(self, finished: Run) -> None:
        for record in finished.records:
            kind = KINDS[record.kind]
            assert plain(written(kind.config_of(record)), "config") == record.config, record.name
            assert plain(written(kind.result_of(record)), "result") == record.result, record.name

    def test_running_again_does_nothing(self, finished: Run) -> None:
        before = (finished.folder / "records.jsonl").read_bytes()
        assert run(self.study, finished.folder) == 0
        assert (finished.folder / "records.jsonl").read_bytes() == before

    @pytest.mark.slow
    def test_an_interruption_changes_nothing(
        self, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if self.reuses:
            monkeypatch.setattr(network_module, "train", lambda *a, **k: pytest.fail("trained again"))
        if not self.audits_again:
            known = {e.key: Outcome(e.result, e.arrays()) for e in finished.entries(AUDIT)}
            monkeypatch.setattr(AuditCell, "run", lambda cell, inputs, context: known[key_of(cell)])
        fork_workers(monkeypatch)
        changes = {"reuse": [finished.folder]} if self.reuses else {}
        with pytest.raises(KeyboardInterrupt):
            run(self.study, tmp_path, listener=Listener(at=self.stop_at), jobs=self.jobs, **changes)
        assert 0 < len(Run.open(tmp_path).records) < len(finished.records)
        assert run(self.study, tmp_path, **changes) > 0
        assert results(tmp_path) == results(finished.folder)
        whole = Run.open(tmp_path)
        assert [r.key for r in whole.records] == [cell["key"] for cell in whole.manifest["cells"]], (
            "in the plan's order"
        )

    def test_secrets_are_in_device_files_alone(self, finished: Run) -> None:
        devices = list((finished.folder / "devices").glob("*.device"))
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in devices)
        hexes = {seed for path in devices if (seed := json.loads(path.read_text()).get("seed"))}
        assert hexes
        own = {form.encode() for h in hexes for form in (h, str(int(h, 16)))}
        # The seed that was given is in no file at all: a device's own is derived from it.
        given = {str(DEVICE_SEED).encode(), f"{DEVICE_SEED:x}".encode()}
        for path in (p for p in finished.folder.rglob("*") if p.is_file()):
            content = path.read_bytes()
            assert not any(form in content for form in (given if path in devices else given | own)), path

    def test_another_seed_is_another_study(self) -> None:
        study = find_study(self.study)
        one, other = (study.cells(MAKERS[self.study](seed=seed), DATA) for seed in (0, 1))
        both = {key_of(cell) for cell in one} & {key_of(cell) for cell in other}
        assert {cell.kind for cell in one if key_of(cell) in both} <= {"device", "cost"}

    def test_checks_pass_and_fail_as_they_must(self) -> None:
        checks = getattr(find_study(self.study).plan, "CHECKS", ())
        for check, (good, bad) in zip(checks, self.told, strict=True):
            for records, passes in (((), True), (good, True), (bad, False)):
                found = check.find(records)
                assert (found.passed if isinstance(found, Found) else not found) == passes, check.name

    def test_settings_that_cannot_be_are_refused(self) -> None:
        config = MAKERS[self.study]()
        shared = (
            ({"n_images": 0}, "n_images"),
            ({"query_images": 0}, "query_images"),
            ({"eps_paper": (8.0,)}, "normalised"),
        )
        for change, said in (*shared, *self.refused):
            if all(hasattr(config, name) for name in change):
                with pytest.raises(ValueError, match=said):
                    replace(config, **change)
