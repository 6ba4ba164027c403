"""Filters that compare what the flavor and the image ask for with what the hypervisor says of itself."""

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostKind, HostView


class ImagePropertiesFilter:
    """The image's ``hw_architecture`` and ``img_hv_type`` fit the hypervisor."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        properties = request.guest.properties
        if not ({"hw_architecture", "architecture", "img_hv_type", "hypervisor_type"} & properties.keys()):
            return view.everywhere()
        return view.judge_kinds(lambda kind: self._fits(kind, properties))

    def _fits(self, host: HostKind, properties: dict[str, str]) -> bool:
        architecture = properties.get("hw_architecture") or properties.get("architecture")
        kind = properties.get("img_hv_type") or properties.get("hypervisor_type")
        if architecture and architecture.lower() != str(host.capabilities.get("architecture", "x86_64")).lower():
            return False
        # A fake host plays any hypervisor; KVM guests run under QEMU's emulation too, as in Nova.
        hypervisor = host.hypervisor_type.lower()
        return not kind or hypervisor == "fake" or kind.lower() in (hypervisor, "kvm", "qemu")

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        wanted = {
            key: value
            for key, value in request.guest.properties.items()
            if key in ("hw_architecture", "architecture", "img_hv_type", "hypervisor_type")
        }
        host = view.kind(row)
        return str(wanted), f"{host.hypervisor_type} on {host.capabilities.get('architecture', 'x86_64')}"


class ComputeCapabilitiesFilter:
    """The flavor's extra specs under ``capabilities:`` equal what the host reports."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        wanted = self._wanted(request)
        if not wanted:
            return view.everywhere()
        return view.judge_kinds(lambda kind: all(self._of(kind, key) == value for key, value in wanted.items()))

    def _wanted(self, request: ScheduleServer) -> dict[str, str]:
        prefix = "capabilities:"
        return {
            key.removeprefix(prefix): value
            for key, value in request.guest.extra_specs.items()
            if key.startswith(prefix)
        }

    def _of(self, host: HostKind, key: str) -> str | None:
        if key == "hypervisor_type":
            return host.hypervisor_type
        if key == "hypervisor_version":
            return str(host.hypervisor_version)
        value = host.capabilities.get(key)
        return None if value is None else str(value)

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        wanted = self._wanted(request)
        return str(wanted), str({key: self._of(view.kind(row), key) for key in wanted})
