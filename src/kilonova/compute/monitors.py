"""What a host measures of itself for the scheduler's metrics rules, under Nova's names.

``cpu.virt_driver``: how the machine's processors spent the time since the last report, as shares from 0 to 1, and since the
machine was started, in nanoseconds (``cpu.user.time``, …).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

_TICK = 10_000_000  # nanoseconds: the kernel shows hundredths of seconds to all
_FIELDS = ("user", "nice", "system", "idle", "iowait")
Reader = Callable[[], str]


class CpuMonitor:
    """One ``cpu.virt_driver``. ``read`` gives the text of ``/proc/stat``."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._before: dict[str, int] | None = None

    def measure(self) -> dict[str, float]:
        """The metrics now; shares from the second time on. Empty if the machine does not tell."""
        try:
            now = _spent(self._read())
        except (OSError, ValueError):
            return {}
        before, self._before = self._before, now
        metrics: dict[str, float] = {f"cpu.{name}.time": float(ticks * _TICK) for name, ticks in now.items()}
        if before is not None:
            passed = {name: ticks - before[name] for name, ticks in now.items()}
            metrics |= _shares(passed)
        return metrics


def _spent(text: str) -> dict[str, int]:
    name, *ticks = text.split("\n", 1)[0].split()
    if name != "cpu" or len(ticks) < len(_FIELDS):
        raise ValueError(f"not the beginning of /proc/stat: {text[:80]!r}")
    user, nice, system, idle, iowait = map(int, ticks[: len(_FIELDS)])
    return {"user": user + nice, "kernel": system, "idle": idle, "iowait": iowait}


def _shares(passed: dict[str, int]) -> dict[str, float]:
    total = sum(passed.values())
    if total <= 0:
        return {}
    shares = {f"cpu.{name}.percent": ticks / total for name, ticks in passed.items()}
    return shares | {"cpu.percent": (passed["user"] + passed["kernel"]) / total}


def monitors_of(names: Sequence[str]) -> list[CpuMonitor]:
    """The monitors of those names, on this machine."""
    return [CpuMonitor(Path("/proc/stat").read_text) for name in names if name == "cpu.virt_driver"]
