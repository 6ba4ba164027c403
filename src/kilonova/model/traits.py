"""Traits, which Placement says hosts have: the names every OpenStack cloud knows, and which follow from capabilities."""

from collections.abc import Mapping, Sequence
from functools import cache

CUSTOM = "CUSTOM_"
"""How the names begin that operators make."""

DISABLED = "COMPUTE_STATUS_DISABLED"
"""An operator has disabled the host's nova-compute."""

_EVERY_HOST = frozenset(
    {"COMPUTE_NODE", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW"}
)
_ARCHITECTURES = ("x86_64", "aarch64", "ppc64le", "s390x", "mipsel")
_OF_QEMU = frozenset(
    {
        "COMPUTE_FIRMWARE_BIOS",
        "COMPUTE_GRAPHICS_MODEL_VGA",
        "COMPUTE_NET_VIF_MODEL_VIRTIO",
        "COMPUTE_STORAGE_BUS_VIRTIO",
    }
)


@cache
def standard_traits() -> frozenset[str]:
    """Those of the os-traits library; loaded when first asked for, as few processes ever are."""
    import os_traits

    return frozenset(os_traits.get_traits())


def implied(hypervisor_type: str, capabilities: Mapping[str, object]) -> frozenset[str]:
    """What follows from a driver's record of itself (``model.guest.Capabilities``), without an operator saying so."""
    found = set(_EVERY_HOST)
    architecture = str(capabilities.get("architecture", "")).lower()
    if architecture in _ARCHITECTURES:
        found |= {f"HW_ARCH_{architecture.upper()}", f"COMPUTE_ARCH_{architecture.upper()}"}
    if hypervisor_type == "QEMU":
        found |= _OF_QEMU
    named = capabilities.get("traits")
    if isinstance(named, Sequence) and not isinstance(named, str):
        found |= {str(name) for name in named}
    return frozenset(found)
