"""The audits: no page without its verdicts, both figures and every reason; what was not audited or skipped is said."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, wilson
from groundglass.old_report.audit import AuditSection
from groundglass.old_report.audit_figures import audit_rows
from groundglass.old_report.audit_reading import Audited, read_audits
from groundglass.old_report.audit_words import because, figures_words, lead_words, skipped_words, verdict_words
from groundglass.old_report.drawing import Folder
from groundglass.old_report.page import build
from groundglass.old_report.study import Study
from groundglass.old_report.verdict import CLEAR, MASKING
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import TRAINED, record
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs

EPS, EPS_PAPER = 0.025, 0.05
BALL = "L∞ ε = 6.38/255 (the paper's 0.05)"
PAPER = "the paper's attacks (PGD-50 through a fresh B and through an unrelated matrix)"
OWN = "PGD-50 with the model's own gradient"
N = 200

Attack = tuple[str, str, int]  # name, role, images broken


def share(count: int, total: int = N) -> dict[str, Any]:
    return {"count": count, "total": total, "share": count / total, "interval": list(wilson(count, total))}


def check(name: str, status: str, measured: str = "0.0% of 12", advice: str = "") -> dict[str, str]:
    return {
        "name": name,
        "status": status,
        "measured": measured,
        "threshold": f"the threshold of {name}",
        "source": "Carlini et al. 2019, section 5",
        "advice": advice,
    }


def result(clean: int, attacks: Sequence[Attack], checks: Sequence[dict[str, str]], **changes: Any) -> dict[str, Any]:
    """Of an audit in which these attacks break so many of `clean` images, one after the other."""
    attempts, left = [], clean
    for name, role, broke in attacks:
        fitted = {"n_images": 1000, "held_out_r2": 0.91} if "fit" in name else None
        attempts.append(
            {
                "name": name,
                "attack": name.split(",")[0],
                "mode": name.split(", ")[-1],
                "role": role,
                "tried": left,
                "broke": broke,
                "gradients": 50 * left,
                "forwards": 2 * left,
                "zero_gradient_share": 0.0,
                "fit": fitted,
            }
        )
        left -= broke
    claimed = clean - sum(broke for _, role, broke in attacks if role == "claim")
    return {
        "verdict": MASKING if any(one["status"] == "failed" for one in checks) else CLEAR,
        "sentence": "Robust accuracy as the audit says it.",
        "ball": "L-inf 6.375/255",
        "claimed_by": PAPER if any("fresh" in name for name, _, _ in attacks) else OWN,
        "stated": None,
        "clean": share(clean),
        "claimed": share(claimed),
        "worst": share(left),
        "randomised": False,
        "attempts": attempts,
        "checks": list(checks),
        "timing": {"seconds": 61.4, "attempts": [1.5] * len(attempts)},
        **changes,
    }


def audit(
    model: str,
    found: dict[str, Any],
    *,
    eps: float = EPS,
    eps_paper: float | None = EPS_PAPER,
    network: str | None = None,
) -> Record:
    config = {
        "model": model,
        "norm": "linf",
        "eps": eps,
        "eps_per_channel": None,
        "eps_paper": eps_paper,
        "n_images": N,
        "settings": {"steps": 50, "queries": 500},
        "seed": 0,
    }
    inputs = (network or TRAINED.get(model, "0123456789cc"),)
    return record("audit", f"audit of {model} (L-inf {eps * 255:.4g}/255)", config, found, inputs=inputs)


NO_SURROGATE = check("gradients no weaker than transfer", "skipped", "no other model was given", "give a surrogate")
HONEST = result(
    160, [("PGD, own", "claim", 158), ("APGD-CE, own", "stronger", 2)], [check("claim stands", "passed"), NO_SURROGATE]
)
MASKED = result(
    162,
    [
        ("PGD, dfa-fresh", "claim", 80),
        ("PGD, fa", "claim", 46),
        ("random noise", "control", 0),
        ("PGD, bpda-fit-linear", "adaptive", 36),
        ("Square, scores, 500 queries", "queries", 0),
    ],
    [
        check("inputs and outputs", "passed"),
        check("gradient agrees with the loss", "failed", "cosine: dfa-fresh -0.02, fa 0.01", "use another gradient"),
        check("claim stands", "failed", "all attacks together take 18.0 points off the claim", "report the worst case"),
        NO_SURROGATE,
    ],
)
NOTHING = {"verdict": "not audited", "sentence": "The model gets none of 200 images right: there is nothing to audit."}


def everything() -> list[Record]:
    return [audit("VGG-16", HONEST), audit("VGG-OPU", MASKED)]


def write(
    folder: Path, audits: Sequence[Record], *, keep: Callable[[Record], bool] = lambda _: True, **changes: Any
) -> Path:
    """The two networks and their audits; what `keep` refuses is planned and not done."""
    made = [*(synthetic_study.training(name) for name in synthetic_study.CLEAN), *audits]
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r in made]
    with RecordStore.open(folder, synthetic_study.manifest(cells=plan, **changes)) as store:
        for one in made:
            if keep(one):
                store.add(one)
    return folder


def alone(folder: Path, one: Record, **changes: Any) -> Path:
    """What `groundglass audit` writes: one record, and nothing else."""
    config = {**one.config, "claimed": 0.45, "classes": []}
    plan = [{"key": one.key, "kind": one.kind, "name": one.name}]
    manifest = synthetic_study.manifest(
        study="audit", recipe="audit", data="mine.npz", config=config, cells=plan, **changes
    )
    with RecordStore.open(folder, manifest) as store:
        store.add(one)
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def read(found: dict[str, Any], model: str = "VGG-OPU", **more: Any) -> Audited:
    return Audited.from_record(audit(model, found, **more))


def written(count: int, total: int = N) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} {100 * low:.1f}–{100 * high:.1f}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("audits") / "run", everything())
    build(folder)
    return folder


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return (whole / "report.html").read_text(encoding="utf-8")


def section(page: str) -> str:
    return page[page.index('<section id="audit">') : page.index("</section>")]


def visible(page: str) -> str:
    """What a reader sees of the section without unfolding anything."""
    return Reader(re.sub(r"<details.*?</details>", "", section(page), flags=re.DOTALL)).text


def test_both_figures_and_the_verdict_of_each_network_are_in_the_first_table(page: str) -> None:
    assert page.index('id="audit"') < page.index('id="answer"')
    rows = table_rows(page, "Table of audits")
    assert rows == [
        ["VGG-16", "200", written(160), written(2), written(0), "– no sign of masking, and no robustness"],
        ["VGG-OPU", "200", written(162), written(36), written(0), "✗ likely gradient masking"],
    ]
    assert f"network, {BALL}" in visible(page)


def test_a_sentence_puts_the_adaptive_figure_beside_the_papers(page: str) -> None:
    low, high = wilson(0, N)
    assert (
        f"VGG-OPU, {BALL}. Robust accuracy under {PAPER} 18.0%, under the strongest attacks we have 0.0% "
        f"({100 * low:.1f}–{100 * high:.1f}), of 200 images, 81.0% of them right untouched: likely gradient masking , because "
        "“PGD, bpda-fit-linear”, fitted on 1,000 natural images, broke 36 of the 36 images that the paper's attacks left, "
        "and 2 of 3 checks failed."
    ) in visible(page)
    assert (
        "all else that was tried took no more than 1.0 points off, and every check that could be made passed (1 of 2)."
        in visible(page)
    )


def test_the_lead_names_whom_to_believe(page: str) -> None:
    words = visible(page)
    assert (
        "Not those claimed for VGG-OPU: likely gradient masking. VGG-16: no sign of masking, and no robustness."
        in words
    )
    assert "Read every figure below beside the worst case" in words


def test_on_a_phone_each_number_is_named_as_its_column_is(page: str) -> None:
    (table,) = re.findall(r'aria-label="Table of audits">.*?</table>', page, flags=re.DOTALL)
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", table[: table.index("</thead>")])
    rows = re.findall(r"<tr>(.*?)</tr>", table[table.index("<tbody>") :], flags=re.DOTALL)
    assert rows
    for row in rows:
        named = [re.search(r'data-head="([^"]*)"', cell) for cell in re.findall(r"<t[hd][^>]*>", row)]
        numbers = [found[1] if found else None for found in named]
        assert [(a, b) for a, b in zip(heads, numbers, strict=True) if b is not None and a != b] == []
        assert numbers.count(None) == 2, "the network and the verdict say what they are"
    assert ".audits td[data-head]::before" in page


def test_what_failed_and_what_was_skipped_is_seen_without_unfolding(page: str) -> None:
    words = visible(page)
    for one in MASKED["checks"]:
        assert (f"“{one['name']}” failed: {one['measured']}" in words) == (one["status"] == "failed")
    assert (
        "Skipped, which is no pass: “gradients no weaker than transfer” everywhere: no other model was given." in words
    )


def test_every_check_has_its_row_in_words_and_not_by_colour_alone(page: str) -> None:
    rows = table_rows(page, f"Table of audit checks of VGG-OPU, {BALL}".replace("'", "&#39;"))
    marks = {"passed": "✓ passed", "failed": "✗ failed", "skipped": "– skipped"}
    assert rows == [
        [c["name"], marks[c["status"]], c["measured"], c["threshold"], c["source"], c["advice"] or "–"]
        for c in MASKED["checks"]
    ]


def test_every_attack_has_its_row(page: str) -> None:
    rows = table_rows(page, f"Table of audit attacks on VGG-OPU, {BALL}".replace("'", "&#39;"))
    assert rows[0] == ["PGD, dfa-fresh", "the claim&#39;s own attack", "162", "80", "8,100", "324", "1.5 s"]
    fitted = "PGD, bpda-fit-linear fitted on 1,000 natural images, R² 0.91"
    assert rows[3] == [fitted, "adaptive: knows the defence", "36", "36", "1,800", "72", "1.5 s"]
    assert rows[4] == [
        "Square, scores, 500 queries",
        "by asking alone, no gradient",
        "not needed: no image was left",
    ]


def test_the_figure_holds_the_records(whole: Path) -> None:
    rows = {row.name: dict(row.panels[0]) for row in audit_rows(read_audits(study(whole)))}
    assert rows["VGG-OPU"] == {
        "untouched": Proportion(162, N),
        "claimed": Proportion(36, N),
        "worst case": Proportion(0, N),
    }
    assert "VGG-OPU: untouched 81%, claimed 18%, worst case 0%" in (whole / "report.html").read_text()


def test_the_page_is_sound_and_the_same_every_time(whole: Path, page: str, tmp_path: Path) -> None:
    found = Reader(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    again = write(tmp_path / "again", everything())
    build(again)
    assert outputs(again) == outputs(whole)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((), "audit of VGG-16|VGG-16 (L-inf 6.375/255); VGG-OPU (L-inf 6.375/255). Do not believe the figures below."),
        (("VGG-16",), "Not audited yet: VGG-OPU (L-inf 6.375/255). Do not believe the figures below about it."),
    ],
)
def test_audits_that_are_planned_and_not_done_are_said(tmp_path: Path, kept: tuple[str, ...], words: str) -> None:
    folder = write(tmp_path, everything(), keep=lambda r: r.kind == "train" or r.config["model"] in kept)
    text = visible(build(folder, sections=[AuditSection()]).read_text())
    assert words.split("|")[-1] in text
    assert "Not audited yet: " in text
    assert "No audit was planned" not in text


def test_a_folder_without_audits_says_so_in_a_line(complete: Path, tmp_path: Path) -> None:
    text = visible((complete / "report.html").read_text())
    assert text.count("No audit was planned for this folder") == 1
    assert "Not audited yet" not in text
    assert not list((complete / "figures").glob("audits*"))
    with RecordStore.open(tmp_path, synthetic_study.manifest()):
        pass  # no plan at all
    assert "No audit was planned for this folder" in build(tmp_path).read_text()


def test_a_network_that_was_attacked_and_not_audited_is_named(tmp_path: Path) -> None:
    attacks = [made for made, _ in synthetic_study.attacks((("VGG-OPU", "dfa"),)) if made.config["model"] == "VGG-OPU"]
    only = [audit("VGG-16", HONEST), *attacks[:1]]
    text = visible(build(write(tmp_path, only), sections=[AuditSection()]).read_text())
    assert "No audit was planned for VGG-OPU: nothing here says whether the figures below about it" in text


def test_a_network_that_gets_nothing_right_is_said_not_to_be_audited(tmp_path: Path) -> None:
    page = build(write(tmp_path, [audit("VGG-OPU", NOTHING), audit("VGG-16", HONEST)])).read_text()
    rows = table_rows(page, "Table of audits")
    assert rows[0] == ["VGG-OPU", "–", "–", "–", "–", "– not audited"]
    assert "there is nothing to audit" in visible(page)
    assert "Not audited, because nothing was there to audit: VGG-OPU." in visible(page)


def test_the_page_of_an_audit_alone_builds(tmp_path: Path) -> None:
    found = {**MASKED, "stated": 0.45}
    page = build(
        alone(tmp_path / "a", record("audit", "audit of <b>net.pt</b>", {**audit("net.pt", found).config}, found))
    )
    read = Reader(page.read_text())
    assert read.open == []
    assert "45.0% is stated. Robust accuracy under the paper's attacks" in read.text
    assert "Read every figure below" not in read.text
    assert [i for i in read.ids if i in ("audit", "answer", "networks", "hardened", "provenance")] == [
        "audit",
        "provenance",
    ]
    bare = synthetic_study.manifest(study="audit", recipe="audit", config={})
    with RecordStore.open(tmp_path / "b", bare) as store:
        store.add(record("audit", "audit of m:make", audit("m:make", NOTHING).config, NOTHING))
    text = Reader(build(tmp_path / "b").read_text()).text
    assert "there is nothing to audit" in text


def test_names_from_the_records_are_text_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    checks = [{**check(evil, "failed", evil, evil), "source": evil}, check("<i>", "skipped", evil)]
    found = result(162, [(evil, evil, 3), ("PGD, own", "claim", 5)], checks, claimed_by=evil, sentence=evil)
    page = build(write(tmp_path, [audit(evil, found), audit("VGG-16", {**NOTHING, "sentence": evil})])).read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert "<i>" not in section(page)


def test_many_networks_are_a_table_with_reasons_and_the_rest_is_folded(tmp_path: Path) -> None:
    audits = [audit(f"NET {i}", MASKED, network=f"{i:012x}") for i in range(9)]
    audits += [audit("NET 0", HONEST, network=f"{0:012x}", eps=8 / 255, eps_paper=None)]
    page = build(write(tmp_path, audits)).read_text()
    rows = table_rows(page, "Table of audits")
    assert len(rows) == 10
    assert rows[0][1] == "L∞ ε = 6.38/255 the paper's 0.05"
    assert rows[9][1] == "L∞ ε = 8/255"
    assert all("“PGD, bpda-fit-linear”" in row[-1] for row in rows[:9])
    folded = re.findall(r"<details>\s*<summary>(NET \d)", section(page))
    assert folded == [f"NET {i}" for i in range(9)] + ["NET 0"]
    assert "NET 0 at L∞ ε = 6.38/255, NET 1" in visible(page)
    assert 'class="verdict' not in section(page)


def test_two_networks_of_a_name_are_told_apart(tmp_path: Path) -> None:
    audits = [audit("VGG-OPU", MASKED, network="a" * 12), audit("VGG-OPU", HONEST, network="b" * 12)]
    page = build(write(tmp_path, audits)).read_text()
    assert [row[0] for row in table_rows(page, "Table of audits")] == ["VGG-OPU aaaaaaaaaaaa", "VGG-OPU bbbbbbbbbbbb"]
    assert len(re.findall("Table of audit checks of VGG-OPU, [^,]*, network [ab]{12}", page)) == 2


def test_reasons_are_what_took_most_off() -> None:
    attacks = [
        ("PGD, own", "claim", 20),
        ("random noise", "control", 1),
        ("PGD, exact", "adaptive", 40),
        ("RayS, labels alone, 9 queries", "queries", 12),
    ]
    found = result(100, attacks, [check("claim stands", "failed")])
    found["attempts"][3]["tried"] = 20  # of 39 that stand
    words = because(read(found))
    assert words == (
        "“PGD, exact”, which needs the secret matrix, broke 40 of the 79 images still left; “RayS, labels alone, 9 queries” "
        "broke 12 of the 20 images it was tried on, and 1 of 1 checks failed"
    )


def test_a_failed_check_is_reason_enough() -> None:
    found = result(100, [("PGD, own", "claim", 20)], [check("gradients are there", "failed"), NO_SURROGATE])
    assert because(read(found)) == "1 of 1 checks failed"


def test_an_honest_claim_is_robustness() -> None:
    found = result(
        150, [("PGD, own", "claim", 60), ("APGD-DLR, own", "stronger", 2)], [check("claim stands", "passed")]
    )
    one = read(found)
    assert (verdict_words(one), one.tone) == (CLEAR, "good")
    assert "no robustness" not in lead_words([one], alone=False)
    assert "strongest attacks we have 44.0%" in figures_words(one)
    idle = read(HONEST, "VGG-16")
    assert lead_words([one, idle], alone=True) == "VGG-OPU and VGG-16: no sign of masking; no robustness of VGG-16."
    wide = read(result(150, [("PGD, own", "claim", 149)], [check("claim stands", "passed")]), eps=0.1)
    assert lead_words([one, wide], alone=True) == "VGG-OPU: no sign of masking."
    many = [one, *(read(HONEST, name) for name in ("A", "B", "C", "VGG-16", "D"))]
    assert lead_words(many, alone=True) == (
        "VGG-OPU, VGG-16 and 4 more: no sign of masking; no robustness of any but VGG-OPU."
    )
    others = [read(HONEST, name) for name in "ABCDEF"]
    assert lead_words(others, alone=True) == "A, B, C and 3 more: no sign of masking, and no robustness."
    unbeaten = result(150, [("PGD, own", "claim", 60), ("FGSM, own", "control", 0)], [check("claim stands", "passed")])
    assert "nothing else that was tried broke another image" in because(read(unbeaten))


def test_a_skipped_check_names_its_networks() -> None:
    other = {**HONEST, "checks": [check("claim stands", "passed"), check("no stand-in", "skipped", "none given")]}
    words = skipped_words([read(HONEST, "A"), read(other, "B"), read(HONEST, "C"), read(NOTHING, "D")])
    assert words == [
        "“gradients no weaker than transfer” for A and C: no other model was given",
        "“no stand-in” for B: none given",
    ]


def _nested(path: str, value: Any) -> dict[str, Any]:
    """MASKED with one value replaced, by a path such as "checks.1.status"."""
    found = json.loads(json.dumps(MASKED))
    *parents, last = path.split(".")
    at: Any = found
    for step in parents:
        at = at[int(step)] if isinstance(at, list) else at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return dict(found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verdict", CLEAR),
        ("verdict", "trust me"),
        ("sentence", ...),
        ("claimed.count", 300),
        ("claimed.count", 162),
        ("claimed.share", 0.5),
        ("worst.count", 40),
        ("worst.total", 100),
        ("worst", None),
        ("clean.total", 0),
        ("attempts.0.broke", 163),
        ("attempts.0.broke", 79),
        ("attempts.3.fit", {"n_images": "many"}),
        ("attempts.0.gradients", -1),
        ("attempts", None),
        ("timing.attempts", [1.0]),
        ("checks", []),
        ("checks.1.status", "waved through"),
        ("checks.1.measured", ...),
        ("stated", "high"),
    ],
)
def test_an_altered_audit_is_refused_by_name(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(DamagedFileError, match=r"audit of VGG-OPU .* is no audit as this version writes it"):
        build(write(tmp_path, [audit("VGG-OPU", _nested(path, value))]))


@pytest.mark.parametrize("config", [{"eps": "wide"}, {"eps": -1.0}, {"norm": ...}, {"model": ...}])
def test_an_audit_without_its_ball_or_network_is_refused(config: dict[str, Any]) -> None:
    made = audit("VGG-OPU", MASKED)
    for name, value in config.items():
        if value is ...:
            del made.config[name]
        else:
            made.config[name] = value
    with pytest.raises(DamagedFileError, match="audit of VGG-OPU"):
        Audited.from_record(made)
