"""Audits in sentences: what is claimed, what is left of it, and why it should or should not be believed."""

from collections.abc import Sequence

from groundglass.old_report.audit_reading import NOT_AUDITED, Audited, Found, Tried
from groundglass.old_report.hardened_reading import NAMES
from groundglass.old_report.query_words import spoken
from groundglass.old_report.verdict import CLEAR, MASKING, listed, percent

ROLES = {
    "claim": "the claim's own attack",
    "control": "control: should break nothing more",
    "adaptive": "adaptive: knows the defence",
    "stronger": "same gradient, more effort",
    "queries": "by asking alone, no gradient",
    "transfer": "images made on another model",
    "given": "brought along by whoever asked for the audit",
}
# Attacks in a sentence: at most so many, and none that broke less than this part of what the first did.
_SAID, _WORTH_SAYING = 2, 0.25
# Of more networks than these a sentence names the first, those that most of the page is about before others.
_NAMED, _FIRST = 5, 3


def role_words(role: str) -> str:
    return ROLES.get(role, role)


def verdict_words(one: Audited) -> str:
    """The verdict; where next to nothing is left, that too."""
    return f"{one.verdict}, and no robustness" if one.verdict == CLEAR and one.is_worthless else one.verdict


def figures_words(one: Audited) -> str:
    """What is claimed and what is left of it; for a network that could not be audited why not."""
    found = one.found
    if found is None:
        return one.sentence
    stated = f"{percent(found.stated)} is stated. " if found.stated is not None else ""
    return (
        f"{stated}Robust accuracy under {found.claimed_by} {percent(found.claimed.share)}, under the strongest attacks we "
        f"have {spoken(found.worst)}, of {found.worst.total:,} images, {percent(found.clean.share)} of them right untouched"
    )


def because(one: Audited) -> str:
    """The strongest reasons for the verdict, within a sentence; empty for a network that could not be audited."""
    found = one.found
    if found is None:
        return ""
    told = "; ".join(_breaking(attempt, found) for attempt in _telling(found))
    failed, made = len(found.of_status("failed")), len(found.checks) - len(found.of_status("skipped"))
    passed = f"every check that could be made passed ({made} of {len(found.checks)})"
    if one.verdict == MASKING:
        return f"{told}{', and ' if told else ''}{failed} of {made} checks failed"
    if found.claimed.count == 0:
        return f"the claim itself is that no image stands, and {passed}"
    if not told:
        return f"nothing else that was tried broke another image, and {passed}"
    return f"all else that was tried took no more than {found.lost:.1f} points off, and {passed}"


def lead_words(audits: Sequence[Audited], *, alone: bool) -> str:
    """Whose figures can be believed and whose not. `alone`: there are no other figures on the page."""
    groups = {verdict: _names(audits, verdict) for verdict in (MASKING, CLEAR, NOT_AUDITED)}
    said = []
    if groups[MASKING]:
        said.append(f"Not those claimed for {_short(groups[MASKING])}: {MASKING}.")
    if groups[CLEAR]:
        standing = {one.model for one in audits if not one.is_worthless}
        idle = [name for name in groups[CLEAR] if name not in standing]
        robust = [name for name in groups[CLEAR] if name not in idle]
        none = (
            ", and no robustness"
            if not robust
            else f"; no robustness of any but {_short(robust)}"
            if len(idle) > _NAMED - 1
            else f"; no robustness of {listed(idle)}"
            if idle
            else ""
        )
        said.append(f"{_short(groups[CLEAR])}: {CLEAR}{none}.")
    if groups[NOT_AUDITED]:
        said.append(f"Not audited, because nothing was there to audit: {_short(groups[NOT_AUDITED])}.")
    if audits and not alone:
        said.append("Read every figure below beside the worst case in this table.")
    return " ".join(said)


def skipped_words(audits: Sequence[Audited]) -> list[str]:
    """Each check that was skipped, with the reason, and where: a skipped check is no pass."""
    where: dict[tuple[str, str], list[str]] = {}
    made = [one for one in audits if one.found is not None]
    for one in made:
        assert one.found is not None
        for check in one.found.of_status("skipped"):
            where.setdefault((check.name, check.measured), []).append(_called(one, audits))
    return [
        f"“{name}” {'everywhere' if len(names) == len(made) > 1 else f'for {_short(names)}'}: {why}"
        for (name, why), names in where.items()
    ]


def claims_words(audits: Sequence[Audited]) -> str:
    """What "claimed" means, for whom."""
    by: dict[str, list[str]] = {}
    for one in audits:
        if one.found is not None:
            names = by.setdefault(one.found.claimed_by, [])
            names += [one.model] if one.model not in names else []
    return "; ".join(f"for {_short(names)} {how}" for how, names in by.items())


def _short(names: Sequence[str]) -> str:
    """Names in a row; of many the first, and how many more."""
    if len(names) <= _NAMED:
        return listed(names)
    first = [name for name in names if name in NAMES][:_FIRST] or list(names[:_FIRST])
    return f"{', '.join(first)} and {len(names) - len(first)} more"


def _telling(found: Found) -> list[Tried]:
    """The attacks that took most off the claim."""
    beyond = [one for one in found.attempts if one.role != "claim" and one.broke]
    most = max((one.broke for one in beyond), default=0)
    return sorted((one for one in beyond if one.broke >= _WORTH_SAYING * most), key=lambda one: -one.broke)[:_SAID]


def _breaking(attempt: Tried, found: Found) -> str:
    """What an attack broke of what was there to break."""
    place = found.attempts.index(attempt)
    standing = found.clean.count - sum(one.broke for one in found.attempts[:place])
    of = "the one image" if attempt.tried == 1 else f"{attempt.broke:,} of the {attempt.tried:,} images"
    if attempt.tried == found.claimed.count == standing:
        left = f"that {_claim(found)} left"
    else:
        left = "still left" if attempt.tried == standing else "it was tried on"
    fit = f", fitted on {attempt.fit['n_images']:,} natural images," if attempt.fit else ""
    secret = ", which needs the secret matrix," if attempt.mode.startswith("exact") else ""
    return f"“{attempt.name}”{fit}{secret} broke {of} {left}"


def _claim(found: Found) -> str:
    return "the paper's attacks" if found.by_paper else "the claim's own attack"


def _names(audits: Sequence[Audited], verdict: str) -> list[str]:
    """Of the networks with that verdict; the radius beside it where the same network has others."""
    verdicts: dict[str, set[str]] = {}
    for one in audits:
        verdicts.setdefault(one.model, set()).add(one.verdict)
    found = [
        one.model if len(verdicts[one.model]) == 1 else f"{one.model} at {one.radius}"
        for one in audits
        if one.verdict == verdict
    ]
    return list(dict.fromkeys(found))


def _called(one: Audited, audits: Sequence[Audited]) -> str:
    """The network, with the radius where there are several."""
    return f"{one.model} ({one.radius})" if len({other.radius for other in audits}) > 1 else one.model
