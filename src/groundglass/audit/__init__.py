"""An audit of a robustness claim: is the figure the network's, or the weakness of the attack that measured it?"""

from groundglass.audit.config import AuditConfig, NothingToAuditError
from groundglass.audit.results import CLEAR, MASKING, Attempt, Audit, Check
from groundglass.audit.run import audit, check_claim, described

__all__ = [
    "CLEAR",
    "MASKING",
    "Attempt",
    "Audit",
    "AuditConfig",
    "Check",
    "NothingToAuditError",
    "audit",
    "check_claim",
    "described",
]
