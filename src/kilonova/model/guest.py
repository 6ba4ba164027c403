"""What a hypervisor is asked to run, as plain values.

A ``GuestSpec`` is everything a driver needs: it never has to ask back. It travels inside messages to
nova-compute and is written beside the guest's disk, so a restarted agent knows what it runs.
"""

from enum import StrEnum

import msgspec

from kilonova.model.topology.given import GivenTopology
from kilonova.model.topology.machine import Topology


class ImageTicket(msgspec.Struct, frozen=True, kw_only=True):
    """The right to fetch one image: where it is and how to know it arrived whole.

    ``url`` is fetched with ``headers``; for the embedded image service the right is a signature in the
    URL, so a compute host needs no credentials of its own. ``disk_format`` is ``qcow2`` or ``raw``, found
    by inspection at upload; it is never guessed again. ``size`` is the file's length, ``virtual_size``
    the disk's, both in bytes; ``sha512`` is the hex digest of the file.
    """

    image_id: str
    url: str
    disk_format: str
    size: int
    virtual_size: int
    sha512: str
    headers: dict[str, str] = {}


class ImageUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The right to upload one image's bytes, as ``disk_format``: to be sent to ``url`` with ``headers``."""

    image_id: str
    url: str
    disk_format: str
    headers: dict[str, str] = {}


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One network card of a guest, addressed already.

    ``address`` and ``gateway`` are plain addresses, ``cidr`` is the subnet's; ``bridge`` is the name of
    the host's bridge for this network and ``host_address`` the address (with prefix) the bridge itself
    has on each host, so that the guest can be reached from there. ``more_addresses`` are the port's others,
    ``floating`` pairs of a floating address and the fixed one it stands for: users see both, drivers neither.
    ``slot`` is its place in the guest for as long as it is there, whatever other cards come and go (None: as listed).
    """

    port_id: str
    network_id: str
    network_name: str
    mac: str
    address: str
    cidr: str
    gateway: str | None = None
    dns: list[str] = []
    mtu: int = 1500
    bridge: str = ""
    host_address: str = ""
    slot: int | None = None
    tag: str | None = None
    more_addresses: list[str] = []
    floating: list[tuple[str, str]] = []


class InjectedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the guest is to find at ``path``; ``contents`` are base64."""

    path: str
    contents: str


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One guest: a server as a hypervisor sees it.

    ``memory_mb`` and ``disk_gb``/``ephemeral_gb``/``swap_mb`` are in MiB and GiB; ``disk_gb`` 0 means the
    image's own virtual size. ``epoch`` is the fence of the action that prepares it: a driver stores it and
    a later, staler preparation can be told from its successor's. ``properties`` are the image's. ``stays_off``: it is not to run
    when it is released, but to be off, like a server that was stopped before it was moved. ``incoming``: it goes on with the
    memory of a running guest that is sent to it, paused if ``stays_paused``. ``in_place``: it takes over the disk of the
    server's guest that is off on the same host, in its own size. ``topology`` is what it was given of the host's, if it asked.
    """

    server_id: str
    name: str
    hostname: str
    project_id: str
    user_id: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    image: ImageTicket | None = None
    nics: list[Nic] = []
    metadata: dict[str, str] = {}
    user_data: str | None = None
    files: list[InjectedFile] = []
    key_name: str | None = None
    public_key: str | None = None
    admin_password: str | None = None
    availability_zone: str | None = None
    launch_index: int = 0
    config_drive: bool = True
    extra_specs: dict[str, str] = {}
    properties: dict[str, str] = {}
    epoch: int = 0
    stays_off: bool = False
    stays_paused: bool = False
    incoming: bool = False
    in_place: bool = False
    topology: GivenTopology | None = None


class GuestState(StrEnum):
    """What a guest is doing on its hypervisor.

    ``PREPARED`` is the state between "everything is ready" and its first instruction: disks made,
    process up, processors stopped, never run. Only a guest whose start was confirmed leaves it. A ``SUSPENDED`` guest is off
    with its memory kept on disk: when it is powered on it goes on where it was. A ``MOVED`` one was handed over to another
    host; it stands, and goes on only if the other one does not.
    """

    PREPARED = "prepared"
    RUNNING = "running"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    OFF = "off"
    CRASHED = "crashed"
    MOVED = "moved"


class GuestCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done inside a guest that runs: ``nmi``, or ``set_password`` with the administrator's new one."""

    verb: str
    password: str = ""


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A guest found on a hypervisor: whose it is, what it does, the epoch that prepared it. ``incoming`` is where it waits for
    the memory of a running one; ``rescued``: it boots a rescue system beside its own disk; ``ports``: those of its cards."""

    server_id: str
    name: str
    state: GuestState
    epoch: int = 0
    incoming: str = ""
    rescued: bool = False
    ports: list[str] = []


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver on this machine can do; the scheduler and the API read it, nobody guesses.

    ``accelerator`` is ``kvm``, ``tcg`` or ``fake``; ``hypervisor_type`` is Nova's name for it (``QEMU``);
    ``version`` is Nova's integer (7.2.22 is 7002022).
    """

    hypervisor_type: str
    version: int
    accelerator: str
    architecture: str = "x86_64"
    cpu_model: str = ""
    features: list[str] = []
    warning: str = ""


class HostResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine has in all, before ratios and reservations: cores, MiB, GiB. ``topology``: all processors as shared."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    free_disk_gb: int
    topology: Topology | None = None
