"""Every message that crosses between two sub-services, in the order a request meets them.

One typed struct each; ``Message`` is their tagged base, ``encode``/``decode`` the wire form (JSON, one
schema version for the whole deployment). Fields are only ever *added, with a default*: a recorded message of
an earlier release must still decode (``tests/upgrade``). Times are microseconds since the epoch.

Queues: ``scheduler``, ``conductor``, ``compute.<host>`` for durable steps, ``compute.<host>.calls`` for questions
to a host that somebody waits for.
"""

from typing import Any

import msgspec

from kilonova.model.diagnostics import GuestDiagnostics
from kilonova.model.finding import Finding
from kilonova.model.guest import Capabilities, GuestSpec, HostResources, ImageTicket, ImageUpload, Nic
from kilonova.model.topology.machine import Topology
from kilonova.model.topology.request import TopologyRequest

CONTRACT_VERSION = 1

SCHEDULER = "scheduler"
CONDUCTOR = "conductor"


def compute_queue(host: str) -> str:
    """The queue of durable steps for one host."""
    return f"compute.{host}"


def compute_calls_queue(host: str) -> str:
    """The queue of questions for one host; they must not wait behind builds."""
    return f"compute.{host}.calls"


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """The base of all messages; the class name travels as ``type``."""


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a request's way: who did what, where, from when to when, and how it ended."""

    name: str
    service: str
    host: str
    started_at: int
    finished_at: int
    result: str = "Success"
    details: dict[str, Any] = {}


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a server takes from a host: cores, MiB, GiB; and amounts of ``custom`` resources by class."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    custom: dict[str, int] = {}


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """How much more of each a host may promise than it has."""

    vcpus: float
    memory_mb: float
    disk_gb: float


# --- 2: nova-api to nova-scheduler -------------------------------------------------------------------------


class ScheduleServer(Message, frozen=True, kw_only=True):
    """Choose a host, claim it, and pass the guest on to it. ``excluded_hosts`` have failed it already, or it is to leave them.

    ``forced``: the requested host is taken if it is there and has room, whatever else speaks against it. ``flavor`` is its
    name, ``image_id`` that of the image the server was made of, ``least_memory_mb`` and ``least_disk_gb`` are what the image
    needs of any flavor. ``topology``: None if it is all the same to the server. ``input`` and ``work`` are those of the action,
    for whoever performs its next step.
    """

    action_id: str
    epoch: int
    guest: GuestSpec
    need: Need
    kind: str = "create"
    forced: bool = False
    input: dict[str, Any] = {}
    work: dict[str, Any] = {}
    topology: TopologyRequest | None = None
    availability_zone: str | None = None
    requested_host: str | None = None
    excluded_hosts: list[str] = []
    hints: dict[str, Any] = {}
    flavor: str = ""
    image_id: str | None = None
    least_memory_mb: int = 0
    least_disk_gb: int = 0


# --- 4: to whoever performs a step -------------------------------------------------------------------------


class PerformStep(Message, frozen=True, kw_only=True):
    """Perform one step of an action. Carries all it needs; ``epoch`` is the one to begin from.

    ``input`` is what the request asked for, ``work`` what earlier steps have found out.
    """

    action_id: str
    kind: str
    step: str
    epoch: int
    server_id: str
    guest: GuestSpec | None = None
    input: dict[str, Any] = {}
    work: dict[str, Any] = {}


# --- 6: nova-compute to nova-conductor ---------------------------------------------------------------------


class BeginStep(Message, frozen=True, kw_only=True):
    """May I? Takes the lease and raises the epoch.

    ``claimant`` names this very attempt: the same question asked again (its answer was lost) gets the same
    answer. ``events`` is what happened on the way here.
    """

    action_id: str
    step: str
    epoch: int
    host: str
    claimant: str
    events: list[TimelineEvent] = []


class StepGranted(Message, frozen=True, kw_only=True):
    """Yes: work under ``epoch``, for ``lease_seconds`` unless the host's heartbeat renews it."""

    epoch: int
    lease_seconds: float
    nics: list[Nic] = []
    image: ImageTicket | None = None
    upload: ImageUpload | None = None


class StepRefused(Message, frozen=True, kw_only=True):
    """No: somebody else has it, or it is over. Drop the message and leave no trace."""

    reason: str


class MoveProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a live migration is, in bytes; None: not known."""

    memory_total: int | None = None
    memory_processed: int | None = None
    memory_remaining: int | None = None


class ReportProgress(Message, frozen=True, kw_only=True):
    """Where the step is: shown as the server's task_state; optional. With ``move`` the answer says what an operator wishes."""

    action_id: str
    epoch: int
    task_state: str
    move: MoveProgress | None = None


class FinishStep(Message, frozen=True, kw_only=True):
    """Done, all of it. Only after the answer ``accepted`` may a prepared guest run. ``output`` goes into the action's work."""

    action_id: str
    step: str
    epoch: int
    host: str
    power_state: int | None = None
    output: dict[str, Any] = {}
    events: list[TimelineEvent] = []


class FailStep(Message, frozen=True, kw_only=True):
    """It failed here and what it had made here is gone again. ``retry``: another host may succeed. ``guest_gone``: there is no
    guest of the server here at all.

    ``message`` is for the user, ``details`` for the administrator.
    """

    action_id: str
    step: str
    epoch: int
    host: str
    message: str
    details: str = ""
    retry: bool = False
    guest_gone: bool = False
    events: list[TimelineEvent] = []


class Verdict(Message, frozen=True, kw_only=True):
    """The database's word on a report. Not accepted: a successor took over; undo your own work. ``wish``: an operator's."""

    accepted: bool
    reason: str = ""
    wish: str = ""


class RunningStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step somebody works on: what the heartbeat renews."""

    action_id: str
    epoch: int


class HostReport(Message, frozen=True, kw_only=True):
    """The heartbeat of a compute host. ``incarnation`` is new with every start of the agent; ``metrics`` are what its monitors
    measured just now.

    ``resources``, ``capabilities`` and ``capacity`` (what may be claimed in all, by the host's own ``ratios`` and what it has
    ``reserved``) come with the first report and whenever they change; so does ``topology``, as servers may use it.
    """

    host: str
    incarnation: str
    running: list[RunningStep] = []
    resources: HostResources | None = None
    capabilities: Capabilities | None = None
    capacity: Need | None = None
    topology: Topology | None = None
    availability_zone: str = "nova"
    address: str = ""
    metrics: dict[str, float] = {}
    reserved: Need | None = None
    ratios: Ratios | None = None


class HostReportAnswer(Message, frozen=True, kw_only=True):
    """Leases renewed for ``lease_seconds``; the actions in ``lost`` are no longer yours: stop and undo. ``compare``: something
    was decided about your guests without you, so compare yourself soon."""

    lease_seconds: float
    lost: list[str] = []
    compare: bool = False


class ListHostWork(Message, frozen=True, kw_only=True):
    """What should this host look like? Asked at start and every minute.

    ``taking_over`` (at start): steps that an earlier incarnation held are given back, to be begun again. ``guests``
    are the servers whose guests were found on the host.
    """

    host: str
    incarnation: str
    taking_over: bool = False
    guests: list[str] = []


class ServerOnHost(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of one server of a host. ``busy``: an action is changing it now, or what is here is the other side
    of a move; it is left alone. ``fenced``: its guest here must not run, as the server is being evacuated."""

    server_id: str
    vm_state: str
    power_state: int
    busy: bool
    guest: GuestSpec
    fenced: bool = False


class HostWork(Message, frozen=True, kw_only=True):
    """The servers that belong on the host, the steps that wait to be begun there, the guests that must go.

    ``remove``: deleted while the host was away, or moved to another host: a copy here must not touch network or disk.
    """

    servers: list[ServerOnHost] = []
    steps: list[PerformStep] = []
    remove: list[str] = []


class GuestChanged(msgspec.Struct, frozen=True, kw_only=True):
    """One guest whose power state is not what was asked for."""

    server_id: str
    power_state: int


class ReportGuests(Message, frozen=True, kw_only=True):
    """Guests that changed behind our back: shut down from inside, crashed."""

    host: str
    changed: list[GuestChanged]


class ReportFindings(Message, frozen=True, kw_only=True):
    """What a host found that it may not mend by itself: all of it, so that what is missing is over."""

    host: str
    findings: list[Finding] = []


class Acknowledged(Message, frozen=True, kw_only=True):
    """Heard; there is nothing to say."""


# --- questions to a host -----------------------------------------------------------------------------------


class GetConsoleOutput(Message, frozen=True, kw_only=True):
    """The last ``lines`` of the serial console; None for all."""

    server_id: str
    lines: int | None = None


class ConsoleOutput(Message, frozen=True, kw_only=True):
    """The text itself."""

    output: str


class GetDiagnostics(Message, frozen=True, kw_only=True):
    """What is measured of a guest?"""

    server_id: str


class Diagnostics(Message, frozen=True, kw_only=True):
    """All of it."""

    guest: GuestDiagnostics


class CacheImages(Message, frozen=True, kw_only=True):
    """Fetch these images before a server needs them. Acknowledged at once; fetched in the background."""

    images: list[ImageTicket]


class Ping(Message, frozen=True, kw_only=True):
    """Are you there? Answered with the same words."""

    text: str = ""


AnyMessage = (
    ScheduleServer
    | PerformStep
    | BeginStep
    | StepGranted
    | StepRefused
    | ReportProgress
    | FinishStep
    | FailStep
    | Verdict
    | HostReport
    | HostReportAnswer
    | ListHostWork
    | HostWork
    | ReportGuests
    | ReportFindings
    | Acknowledged
    | GetConsoleOutput
    | ConsoleOutput
    | GetDiagnostics
    | Diagnostics
    | CacheImages
    | Ping
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The wire form of a message."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """The message in ``data``. Raises ``msgspec.MsgspecError`` for anything that is not one."""
    return _decoder.decode(data)
