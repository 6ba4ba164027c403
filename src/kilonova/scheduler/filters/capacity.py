"""Whether the server fits: the same comparison that the claim makes in the database."""

from collections.abc import Iterator, Mapping

from kilonova.messaging.contract import ScheduleServer
from kilonova.model.inventory import Inventory
from kilonova.scheduler.view import Bools, HostView


class CapacityFilter:
    """Enough free cores, memory, disk and custom resources, by the ratios and reservations of the host."""

    def passes(self, view: HostView, request: ScheduleServer) -> Bools:
        need = request.need
        fits: Bools = (
            (view.vcpus_free >= need.vcpus) & (view.memory_free >= need.memory_mb) & (view.disk_free >= need.disk_gb)
        )
        if need.custom:
            fits &= view.judge(
                view.columns.custom, view.records.custom, lambda there: not any(_short(there, need.custom))
            )
        return fits

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
        short += _short(view.custom(row), need.custom)
        return ", ".join(want for want, _ in short), ", ".join(have for _, have in short)


def _short(there: Mapping[str, Inventory], need: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """What of the custom resources is missing: how much is needed, how much is there and in what portions."""
    for name, amount in need.items():
        inventory = there.get(name)
        if inventory is None:
            yield f"{amount} {name}", f"no {name}"
        elif not inventory.fits(amount):
            free = f"{max(inventory.capacity - inventory.used, 0)} {name} free"
            portions = f"in portions of {inventory.min_unit} to {inventory.max_unit}, by {inventory.step_size}"
            yield f"{amount} {name}", free if inventory.used + amount > inventory.capacity else f"{free} {portions}"
