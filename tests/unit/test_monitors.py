"""What a host measures of itself."""

import pytest

from kilonova.compute.monitors import CpuMonitor, monitors_of


class Machine:
    """Its ``/proc/stat``, as a test needs it."""

    def __init__(self) -> None:
        self.text = "cpu  100 20 30 800 50 7 8 0 0 0\ncpu0 1 2 3 4 5\n"

    def read(self) -> str:
        return self.text


def test_shares_since_the_last_look_and_times_since_the_start() -> None:
    machine = Machine()
    monitor = CpuMonitor(machine.read)
    first = monitor.measure()
    assert first == {
        "cpu.user.time": 1.2e9,
        "cpu.kernel.time": 0.3e9,
        "cpu.idle.time": 8e9,
        "cpu.iowait.time": 0.5e9,
    }
    machine.text = "cpu  130 30 50 830 60 7 8 0 0 0\n"
    second = monitor.measure()
    shares = {name: value for name, value in second.items() if name.endswith(".percent")}
    assert shares == {
        "cpu.user.percent": pytest.approx(0.4),
        "cpu.kernel.percent": pytest.approx(0.2),
        "cpu.idle.percent": pytest.approx(0.3),
        "cpu.iowait.percent": pytest.approx(0.1),
        "cpu.percent": pytest.approx(0.6),
    }
    assert "cpu.percent" not in monitor.measure()  # no time has passed


@pytest.mark.parametrize("text", ["", "cpu 1 2", "intr 1 2 3 4 5 6", "cpu a b c d e"])
def test_a_machine_that_does_not_tell(text: str) -> None:
    machine = Machine()
    machine.text = text
    assert CpuMonitor(machine.read).measure() == {}


def test_this_machine_tells() -> None:
    assert monitors_of([]) == []
    (monitor,) = monitors_of(["cpu.virt_driver"])
    assert monitor.measure()["cpu.idle.time"] > 0
