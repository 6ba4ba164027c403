"""Services and hosts: who is there, and whether they can be trusted with work."""

import msgspec


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One sub-service on one host. Moments in microseconds."""

    id: int
    uuid: str
    binary: str
    host: str
    zone: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    last_seen_at: int
    stopped_at: int | None
    started_at: int

    def up(self, now: int, down_after: float) -> bool:
        """Heard of within ``down_after`` seconds, has not said goodbye, and is not forced down."""
        return not self.forced_down and self.stopped_at is None and now - self.last_seen_at <= down_after * 1_000_000


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A compute host: its machine, what may be claimed of it and what is claimed. Cores, MiB, GiB."""

    id: int
    uuid: str
    host: str
    address: str
    availability_zone: str
    hypervisor_type: str
    hypervisor_version: int
    capabilities: dict[str, object]
    vcpus: int
    memory_mb: int
    disk_gb: int
    free_disk_gb: int
    vcpus_capacity: int
    memory_mb_capacity: int
    disk_gb_capacity: int
    vcpus_used: int
    memory_mb_used: int
    disk_gb_used: int
    servers_count: int
    failed_builds: int
    created_at: int
    updated_at: int
    generation: int = 0
    vcpus_reserved: int = 0
    memory_mb_reserved: int = 0
    disk_gb_reserved: int = 0
    vcpus_ratio: float = 1.0
    memory_mb_ratio: float = 1.0
    disk_gb_ratio: float = 1.0
    inventory_terms: dict[str, dict[str, float]] = {}

    @property
    def vcpus_shared(self) -> int:
        """The processors that servers share: those that are given to one server each are none of its VCPUs, as in Nova."""
        return self.vcpus - self.vcpus_reserved
