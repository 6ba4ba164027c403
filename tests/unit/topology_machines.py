"""Machines and requests for tests of topology."""

from kilonova.model.topology.machine import Cell, Device, Pages, Topology
from kilonova.model.topology.request import DeviceRequest, DeviceSpec

GPU = DeviceSpec(vendor_id="10de", product_id="1eb8")
NIC = DeviceSpec(vendor_id="8086", product_id="154c", kind="type-VF")
ALIASES = {
    "gpu": DeviceRequest(alias="gpu", count=1, specs=[GPU]),
    "near": DeviceRequest(alias="near", count=1, specs=[GPU], affinity="required"),
    "nic": DeviceRequest(alias="nic", count=1, specs=[NIC], affinity="preferred"),
}


def machine(
    cells: int = 2,
    cores: int = 2,
    threads: int = 2,
    *,
    memory_mb: int = 1024,
    pages: list[Pages] | None = None,
    dedicated: bool = True,
    devices: list[Device] | None = None,
) -> Topology:
    """``cells`` alike, all processors dedicated or all shared."""
    each = cores * threads
    made = []
    for number in range(cells):
        first = number * each
        cpus = list(range(first, first + each))
        siblings = [cpus[at : at + threads] for at in range(0, each, threads)] if threads > 1 else []
        made.append(
            Cell(
                id=number,
                shared=[] if dedicated else cpus,
                dedicated=cpus if dedicated else [],
                siblings=siblings,
                memory_mb=memory_mb,
                pages=pages or [],
            )
        )
    return Topology(cells=made, devices=devices or [])


def gpu(number: int, cell: int | None = None) -> Device:
    """One of the devices that the aliases ``gpu`` and ``near`` mean."""
    return Device(address=f"0000:{number:02x}:00.0", vendor_id="10de", product_id="1eb8", cell=cell)


def nic(number: int, cell: int | None = None) -> Device:
    """One that the alias ``nic`` means."""
    return Device(address=f"0000:f0:00.{number}", vendor_id="8086", product_id="154c", kind="type-VF", cell=cell)
