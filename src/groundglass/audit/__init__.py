"""An audit of robustness claims: what does a network keep, whatever is tried, and which claims does that contradict?"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from groundglass.audit.config import QUICK, STANDARD, AuditConfig, NothingToAuditError
from groundglass.audit.findings import Attempt, Check, Claim, Finding
from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.audit.claims import ClaimLike, check_claim
    from groundglass.audit.ledger import GivenAttack
    from groundglass.audit.results import Audit
    from groundglass.audit.run import audit, described

__all__ = [
    "QUICK",
    "STANDARD",
    "Attempt",
    "Audit",
    "AuditConfig",
    "Check",
    "Claim",
    "ClaimLike",
    "Finding",
    "GivenAttack",
    "NothingToAuditError",
    "audit",
    "check_claim",
    "described",
]

__getattr__ = lazily(
    __name__,
    {"Audit": "groundglass.audit.results", "GivenAttack": "groundglass.audit.ledger"}
    | dict.fromkeys(("ClaimLike", "check_claim"), "groundglass.audit.claims")
    | dict.fromkeys(("audit", "described"), "groundglass.audit.run"),
)


class _Callable(ModuleType):
    """`groundglass.audit(...)` is `groundglass.audit.audit(...)`: a package and its function have one name."""

    def __call__(self, *given: Any, **options: Any) -> "Audit":
        found: Audit = self.audit(*given, **options)
        return found


sys.modules[__name__].__class__ = _Callable
