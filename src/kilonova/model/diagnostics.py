"""What a hypervisor measures of one guest, as plain values. What it cannot know is None."""

import msgspec

from kilonova.model.guest import GuestState


class CpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual processor: the time it has computed, in nanoseconds."""

    id: int
    time: int | None = None


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    """One disk by its name in the guest: bytes and requests since the guest's process began."""

    name: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0
    errors_count: int = 0


class NicUse(msgspec.Struct, frozen=True, kw_only=True):
    """One network card, received and sent as the guest sees it. ``name`` is the host's end of it."""

    name: str
    mac_address: str
    rx_octets: int | None = None
    rx_errors: int | None = None
    rx_drop: int | None = None
    rx_packets: int | None = None
    tx_octets: int | None = None
    tx_errors: int | None = None
    tx_drop: int | None = None
    tx_packets: int | None = None


class GuestDiagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """One guest. ``hypervisor`` is ``kvm``, ``qemu`` or ``fake``; ``uptime`` is in seconds since its process began.

    ``memory_maximum`` and ``memory_used`` are MiB that the guest may have and has; ``memory_resident`` are KiB of the host.
    """

    state: GuestState
    hypervisor: str
    uptime: int | None
    config_drive: bool
    memory_maximum: int
    memory_used: int | None = None
    memory_resident: int | None = None
    cpus: list[CpuUse] = []
    disks: list[DiskUse] = []
    nics: list[NicUse] = []
