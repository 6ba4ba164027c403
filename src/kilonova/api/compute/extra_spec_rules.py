"""What the known extra specs may say (checked from 2.86). Namespaces nobody knows are the operator's own. Pure."""

import re
from collections.abc import Callable

from kilonova.model.errors import Invalid

Check = Callable[[str], bool]


def _whole(lowest: int | None = None, highest: int | None = None) -> Check:
    def check(text: str) -> bool:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            return False
        return (lowest is None or int(text) >= lowest) and (highest is None or int(text) <= highest)

    return check


def _one_of(*words: str) -> Check:
    return lambda text: text in words


def _form(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _flag(text: str) -> bool:
    return text.lower() in {"1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"}


def _anything(text: str) -> bool:
    return True


_CPUS = _form(r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*")
_LEVEL = _one_of("custom", "high", "normal", "low")

_EXACT: dict[str, Check] = {
    "accel:device_profile": _anything,
    "group_policy": _one_of("isolate", "none"),
    "hide_hypervisor_id": _flag,
    "hw:boot_menu": _flag,
    "hw:cpu_cores": _whole(1),
    "hw:cpu_dedicated_mask": _CPUS,
    "hw:cpu_max_cores": _whole(1),
    "hw:cpu_max_sockets": _whole(1),
    "hw:cpu_max_threads": _whole(1),
    "hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    "hw:cpu_realtime": _flag,
    "hw:cpu_realtime_mask": _CPUS,
    "hw:cpu_sockets": _whole(1),
    "hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    "hw:cpu_threads": _whole(1),
    "hw:emulator_threads_policy": _one_of("isolate", "share"),
    "hw:ephemeral_encryption": _flag,
    "hw:ephemeral_encryption_format": _one_of("plain", "luks", "luksv2"),
    "hw:hide_hypervisor_id": _flag,
    "hw:locked_memory": _flag,
    "hw:mem_encryption": _flag,
    "hw:mem_encryption_model": _one_of("amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx"),
    "hw:mem_page_size": _form(r"large|small|any|\d+([kKMGT]i?)?(b|bit|B)?"),
    "hw:numa_nodes": _whole(1),
    "hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    "hw:pmem": _form(r"[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*,?"),
    "hw:pmu": _flag,
    "hw:redirected_usb_ports": _whole(0, 15),
    "hw:serial_port_count": _whole(0),
    "hw:sound_model": _one_of("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"),
    "hw:tpm_model": _one_of("tpm-tis", "tpm-crb"),
    "hw:tpm_secret_security": _one_of("user", "host", "deployment"),
    "hw:tpm_version": _one_of("1.2", "2.0"),
    "hw:usb_model": _one_of("none", "nec-xhci", "qemu-xhci"),
    "hw:vif_multiqueue_enabled": _flag,
    "hw:viommu_model": _one_of("intel", "smmuv3", "virtio", "auto"),
    "hw:virtio_packed_ring": _flag,
    "hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw_rng:allowed": _flag,
    "hw_rng:rate_bytes": _whole(0),
    "hw_rng:rate_period": _whole(0),
    "hw_video:ram_max_mb": _whole(0),
    "os:secure_boot": _one_of("disabled", "required"),
    "pci_passthrough:alias": _form(r"[^:]+:\d+(\s*,\s*[^:]+:\d+)*"),
    "quota:cpu_quota": _whole(),
    **{f"quota:{name}": _LEVEL for name in ("cpu_shares_level", "disk_io_shares_level")},
    **{f"quota:{name}": _LEVEL for name in ("memory_shares_level", "vif_shares_level")},
    **{f"quota:{name}_reservation": _whole() for name in ("cpu", "disk_io", "memory", "vif")},
    **{f"quota:{name}_limit": _whole(0) for name in ("cpu", "disk_io", "memory", "vif")},
    **{f"quota:{name}_shares_share": _whole(0) for name in ("cpu", "disk_io", "memory", "vif")},
    **{f"quota:{name}": _whole(0) for name in ("cpu_period", "cpu_shares")},
    **{f"quota:disk_{way}_{unit}_sec": _whole(0) for way in ("read", "write", "total") for unit in ("bytes", "iops")},
    **{
        f"quota:vif_{way}_{what}": _whole(0)
        for way in ("inbound", "outbound")
        for what in ("average", "burst", "peak")
    },
}
_FAMILIES: tuple[tuple[re.Pattern[str], Check], ...] = (
    (re.compile(r"hw:numa_cpus\.\d+"), _CPUS),
    (re.compile(r"hw:numa_mem\.\d+"), _whole(1)),
    (re.compile(r"resources([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+"), _whole(0)),
    (re.compile(r"trait([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+"), _one_of("required", "forbidden")),
)
_NAMESPACES = re.compile(
    r"(accel|hw|hw_rng|hw_video|os|pci_passthrough|quota|resources[a-zA-Z0-9_-]{0,64}|trait[a-zA-Z0-9_-]{0,64}):"
)


def check_extra_spec(name: str, value: str) -> None:
    """Raise ``Invalid`` for a value its spec cannot have, and for a name unknown in a namespace that is known."""
    check = _EXACT.get(name)
    if check is None:
        check = next((found for pattern, found in _FAMILIES if pattern.fullmatch(name)), None)
    if check is None:
        if _NAMESPACES.match(name):
            raise Invalid(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")
        return
    if not check(value):
        raise Invalid(f"Validation failed; '{value}' is not a value of extra spec '{name}'.")
