"""An audit of a robustness claim: is the figure the network's, or the weakness of the attack that measured it?"""

from typing import TYPE_CHECKING

from groundglass.audit.config import AuditConfig, NothingToAuditError
from groundglass.audit.findings import CLEAR, MASKING, NOTHING, Attempt, Check
from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.audit.results import Audit
    from groundglass.audit.run import audit, check_claim, described

__all__ = [
    "CLEAR",
    "MASKING",
    "NOTHING",
    "Attempt",
    "Audit",
    "AuditConfig",
    "Check",
    "NothingToAuditError",
    "audit",
    "check_claim",
    "described",
]

__getattr__ = lazily(
    __name__,
    {"Audit": "groundglass.audit.results"}
    | dict.fromkeys(("audit", "check_claim", "described"), "groundglass.audit.run"),
)
