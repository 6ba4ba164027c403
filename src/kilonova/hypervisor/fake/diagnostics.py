"""What can be measured of a guest that is only imitated: its shape, and how long it has been up. It does nothing else."""

from kilonova.hypervisor.fake.journal import FakeGuest
from kilonova.model.diagnostics import CpuUse, DiskUse, GuestDiagnostics, NicUse
from kilonova.model.guest import GuestState


def imitate(guest: FakeGuest, now: int) -> GuestDiagnostics:
    """The guest at the moment ``now`` (microseconds)."""
    spec, up = guest.spec, guest.state is GuestState.RUNNING
    extra = [bool(spec.ephemeral_gb), bool(spec.swap_mb), spec.config_drive]
    names = [f"vd{letter}" for letter in "abcd"[: 1 + sum(extra)]]
    idle = dict.fromkeys(
        (f"{way}_{what}" for way in ("rx", "tx") for what in ("octets", "errors", "drop", "packets")), 0
    )
    return GuestDiagnostics(
        state=guest.state,
        hypervisor="fake",
        uptime=(now - guest.booted_at) // 1_000_000 if up else None,
        config_drive=spec.config_drive,
        memory_maximum=spec.memory_mb,
        memory_used=spec.memory_mb if up else None,
        memory_resident=0 if up else None,
        cpus=[CpuUse(id=number, time=0) for number in range(spec.vcpus)] if up else [],
        disks=[DiskUse(name=name) for name in names] if up else [],
        nics=[NicUse(name=f"tap{nic.port_id[:11]}", mac_address=nic.mac, **idle) for nic in spec.nics],
    )
