"""What can go wrong, named by who has to act on it.

About a dozen classes, one for each *reaction*, not one for each noun. The API turns them into OpenStack
faults (``web/faults.py``); the engine decides by them whether to retry, reschedule or give up.
"""


class KilonovaError(Exception):
    """The root. ``message`` is safe to show to the user who asked; ``details`` only to an administrator.

    ``name`` is what the API calls this very failure, where it has such names (``NeutronError``'s ``type``).
    """

    status = 500

    def __init__(self, message: str, *, details: str = "", name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.name = name


class Invalid(KilonovaError):
    """The request is wrong and stays wrong: 400."""

    status = 400


class Unauthenticated(KilonovaError):
    """Nobody we know, or no longer: 401."""

    status = 401


class Forbidden(KilonovaError):
    """Known, but not allowed to: 403."""

    status = 403


class QuotaExceeded(Forbidden):
    """The project has used up what it may use: 403, as Nova answers it."""


class NotFound(KilonovaError):
    """There is no such object, or none that this caller may know of: 404."""

    status = 404


class GuestGone(NotFound):
    """A host has no guest of a server that is to be there."""


class Conflict(KilonovaError):
    """The object is in a state that forbids it now: 409."""

    status = 409


class Gone(KilonovaError):
    """It existed once and never will again: 410."""

    status = 410


class TooLarge(KilonovaError):
    """More bytes than we accept: 413."""

    status = 413


class Unsupported(KilonovaError):
    """This driver or deployment cannot do that: 501."""

    status = 501


class Unavailable(KilonovaError):
    """Something we depend on does not answer; the same call may work later: 503."""

    status = 503


class Stale(KilonovaError):
    """A successor took over (its epoch is higher): the caller must undo its own work and be silent."""

    status = 409


class HostFault(KilonovaError):
    """The hypervisor or its machine failed at a step. ``retry`` says whether another host may succeed."""

    def __init__(self, message: str, *, details: str = "", retry: bool = True) -> None:
        super().__init__(message, details=details)
        self.retry = retry


class Misconfigured(KilonovaError):
    """An operator has to change the configuration or the machine; ends the process with one line."""
