"""What a fake host pretends to be, how long its verbs take, and how they fail."""

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The next ``times`` calls of ``verb`` fail (-1: all of them).

    ``retry`` is the ``HostFault``'s; ``after`` seconds of the verb's work it fails, and ``server_id`` narrows it to
    one server. ``hang`` means the verb never returns: what a host that died in the middle looks like.
    """

    verb: str
    times: int = 1
    retry: bool = True
    after: float = 0.0
    server_id: str | None = None
    hang: bool = False
    message: str = "the fake hypervisor was told to fail here"


class FakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A fake host.

    ``vcpus``, ``memory_mb`` (MiB) and ``disk_gb`` (GiB) are what it claims to have. ``delays`` are seconds by verb;
    a verb that is missing takes no time. ``jitter`` spreads each delay evenly by that share (0.2: ±20 %).
    ``faults`` can also be added while it runs (``FakeDriver.inject``).
    """

    vcpus: int = 64
    memory_mb: int = 262_144
    disk_gb: int = 4_096
    delays: dict[str, float] = {}
    jitter: float = 0.2
    faults: list[Fault] = []


REALISTIC_DELAYS = {
    "start": 0.05,
    "prepare": 0.15,
    "release": 0.005,
    "destroy": 0.03,
    "power_on": 0.06,
    "power_off": 2.2,
    "reboot": 2.3,
}
"""What the QEMU driver takes, measured on two cores with the test guest (seconds)."""
