"""What an operator or a test may set of the QEMU driver; every default is right for a machine of one's own."""

from pathlib import Path

import msgspec


class QemuSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The QEMU driver's options.

    ``accelerator`` is ``auto`` (KVM if a guest kernel really runs under it, else TCG), ``kvm`` (KVM or
    ``Misconfigured``) or ``tcg``. ``probe_kernel`` is the Linux kernel the probe boots; None takes the newest
    ``/boot/vmlinuz*``. ``translation_cache_mb`` is TCG's code cache for each guest, in MiB (32 boots fastest).
    ``shared_cpus`` are the host's processors that guests may run on unless they were given others (None: all).
    ``root_ports`` is how many network cards, and devices that are plugged in later, a guest can have.
    ``min_free_disk_mb`` (MiB) is kept free on the file system of the state directory: a guest that would need it is
    refused, so that those which run can go on writing. ``console_kb`` (KiB) is how much of a serial console is kept
    and shown. The rest are times in
    seconds: to start a process until its monitor answers, for one monitor command, for one call of
    ``qemu-img`` and its like, and for the probe.
    """

    binary: str = "qemu-system-x86_64"
    image_tool: str = "qemu-img"
    iso_tool: str = "genisoimage"
    accelerator: str = "auto"
    shared_cpus: frozenset[int] | None = None
    probe_kernel: Path | None = None
    translation_cache_mb: int = 32
    root_ports: int = 12
    min_free_disk_mb: int = 512
    console_kb: int = 256
    start_timeout: float = 30.0
    monitor_timeout: float = 10.0
    tool_timeout: float = 300.0
    probe_timeout: float = 8.0
