"""A decision of nova-scheduler as it is kept: what was asked for, how it ended, and why."""

from enum import StrEnum
from typing import Any

import msgspec


class Ending(StrEnum):
    """How a decision ended: its host was claimed; the host had filled up or changed meanwhile; no host could take the server."""

    PLACED = "placed"
    LOST = "lost"
    FAILED = "failed"


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. ``decided_at`` in microseconds; ``details`` as ``scheduler/decision.py`` writes them."""

    server_id: str
    action_id: str
    request_id: str
    kind: str
    outcome: str
    host: str | None
    zone: str | None
    decided_at: int
    details: dict[str, Any]


class KeptDecision(DecisionRecord, frozen=True, kw_only=True):
    """One row of ``decisions``; a later one has a higher ``seq``."""

    seq: int
