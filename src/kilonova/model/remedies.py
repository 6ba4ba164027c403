"""What happens to an action that is late, or that failed on a host: pure rules, no I/O."""

import msgspec

from kilonova.model.action import Action, ActionState, Performer, Remedy
from kilonova.model.kinds.catalog import KINDS


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds the rules work with: counts, and microseconds."""

    attempts: int
    max_hosts: int
    queue_deadline: int


def remedy(action: Action, *, host_up: bool, now: int, limits: Limits) -> Remedy:
    """The rule of the sweep, for an action whose lease has run out.

    ``host_up`` is about the host that performs the step, and true for steps that need none. A delete never fails for want of a
    host; a create moves on; anything else cannot be done while the host is away, and says so.
    """
    kind = KINDS[action.kind]
    step = kind.step(action.step)
    waited_out = action.state == ActionState.PENDING and now - action.updated_at > limits.queue_deadline
    exhausted = action.attempts >= limits.attempts or waited_out
    if step.performer is Performer.COMPUTE and (not host_up or exhausted):
        if step.if_host_lost is Remedy.RESCHEDULE:
            return Remedy.RESCHEDULE if may_retry_elsewhere(action, limits) else Remedy.FAIL
        return step.if_host_lost
    if exhausted and not (kind.forward_only or step.forward_only):
        return Remedy.FAIL
    return Remedy.RESEND


def may_retry_elsewhere(action: Action, limits: Limits) -> bool:
    """Whether an action whose step failed on one host gets another."""
    step = KINDS[action.kind].step(action.step)
    return step.if_host_lost is Remedy.RESCHEDULE and len(action.excluded_hosts) + 1 < limits.max_hosts


def resend_delay(waited: int, dispatch: int, *, longest: int = 60_000_000) -> int:
    """Microseconds until a step that nobody began is sent again: as long as it has waited already, within bounds."""
    return max(dispatch, min(waited, longest))
