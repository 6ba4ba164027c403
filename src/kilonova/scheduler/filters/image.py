"""What the image says it needs of the hypervisor."""

from collections.abc import Mapping, Sequence

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.filters.versions import allows, dotted
from kilonova.scheduler.host_values import of_kind
from kilonova.scheduler.view import Bools, HostKind, HostView

_OLD_NAMES = {"hw_architecture": "architecture", "img_hv_type": "hypervisor_type", "hw_vm_mode": "vm_mode"}
_ARCHITECTURES = {"amd64": "x86_64"} | dict.fromkeys(("i386", "i486", "i586", "x86_32", "x86_32p"), "i686")
_TYPES = {"xapi": "xen"}
_ANY = "*"
_MODES = {"hv": "hvm", "pv": "xen", "baremetal": "hvm"}


class ImagePropertiesFilter:
    """The image's architecture, hypervisor type and machine mode are among those that the host has, and if it asks for one of
    them, the version of the hypervisor and the width of addresses fit as well.

    ``default_architecture`` is that of images that do not say.
    """

    fixed = True

    def __init__(self, default_architecture: str | None = None) -> None:
        self._default = default_architecture

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        properties = request.guest.properties
        wanted = self._wanted(properties)
        if not any(wanted):
            return view.everywhere()
        return view.judge_kinds(lambda kind: not self._against(kind, wanted, properties))

    def _wanted(self, properties: Mapping[str, str]) -> tuple[str, str, str]:
        """Architecture, hypervisor type and machine mode, "" for any."""
        architecture, kind, mode = (
            (properties.get(name) or properties.get(old) or "").strip().lower() for name, old in _OLD_NAMES.items()
        )
        architecture = architecture or (self._default or "").lower()
        return (
            _ARCHITECTURES.get(architecture, architecture),
            _TYPES.get(kind, kind),
            _MODES.get(mode, mode),
        )

    def _against(
        self, host: HostKind, wanted: tuple[str, str, str], properties: Mapping[str, str]
    ) -> list[tuple[str, str]]:
        """Pairs of what is needed and what is there; none if all of it fits."""
        there = _supported(host)
        against = [
            (need, " or ".join(have) or "unknown")
            for need, have in zip(wanted, there, strict=True)
            if need and _ANY not in have and need not in have
        ]
        version = properties.get("img_hv_requested_version") or properties.get("hypervisor_version_requires")
        if version and host.hypervisor_version and not allows(version, host.hypervisor_version):
            against.append((f"version {version}", f"version {dotted(host.hypervisor_version)}"))
        bits = of_kind(host, ("cpu_info", "maxphysaddr", "bits"))
        wider = properties.get("hw_maxphysaddr_bits", "")
        if wider.isdecimal() and isinstance(bits, int) and bits < int(wider[:9]):
            against.append((f"addresses of {wider[:9]} bits", f"{bits} bits"))
        return against

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        properties = request.guest.properties
        against = self._against(view.kind(row), self._wanted(properties), properties)
        return ", ".join(need for need, _ in against), ", ".join(have for _, have in against)


def _supported(host: HostKind) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Architectures, hypervisor types and machine modes of a host; a fake one plays any hypervisor."""
    architecture = str(host.capabilities.get("architecture", "x86_64")).lower()
    architectures = [_ARCHITECTURES.get(architecture, architecture)]
    if architectures == ["x86_64"]:
        architectures.append("i686")
    hypervisor = host.hypervisor_type.lower()
    if hypervisor == "fake":
        return architectures, [_ANY], [_ANY]
    # KVM guests run under QEMU's emulation too, as in Nova, and an accelerated host runs both.
    return architectures, sorted({hypervisor, "kvm", "qemu"}), ["hvm"]
