"""Whether the server fits: the same comparison that the claim makes in the database."""

from kilonova.messaging.contract import ScheduleServer
from kilonova.scheduler.view import Bools, HostView


class CapacityFilter:
    """Enough free cores, memory and disk, by the ratios and reservations of the host."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        need = request.need
        return (
            (view.vcpus_free >= need.vcpus) & (view.memory_free >= need.memory_mb) & (view.disk_free >= need.disk_gb)
        )

    def explain(self, view: HostView, row: int, request: ScheduleServer) -> tuple[str, str]:
        need = request.need
        short = [
            (f"{needed} {unit}", f"{max(int(free[row]), 0)} {unit} free")
            for needed, free, unit in (
                (need.vcpus, view.vcpus_free, "VCPU"),
                (need.memory_mb, view.memory_free, "MiB memory"),
                (need.disk_gb, view.disk_free, "GiB disk"),
            )
            if free[row] < needed
        ]
        return ", ".join(want for want, _ in short), ", ".join(have for _, have in short)
