"""How bad it is now: the chances of every small misfortune, raised and lowered by the schedule."""

from kilonova.model.clock import Random


class Weather:
    """Asked by bus, database and machines before each of their deeds. One random source of its own."""

    def __init__(self, source: Random, distance: float) -> None:
        self.source = source
        self._distance = distance
        self._chances: dict[str, float] = {}
        self._windows: list[dict[str, float]] = []

    def begin(self, chances: dict[str, float]) -> None:
        """A window of bad weather opens."""
        self._windows.append(chances)
        self._sum_up()

    def end(self, chances: dict[str, float]) -> None:
        """It closes."""
        self._windows.remove(chances)
        self._sum_up()

    def clear(self) -> None:
        """All is well from now on."""
        self._windows.clear()
        self._sum_up()

    def strikes(self, misfortune: str) -> bool:
        """Whether it happens this time."""
        chance = self._chances.get(misfortune)
        return chance is not None and self.source.random() < chance

    def latency(self) -> float:
        """The seconds an ordinary trip takes: mostly a millisecond times the distance, sometimes much more."""
        drawn = self.source.random()
        return self._distance * (0.002 * drawn if drawn < 0.98 else 0.1 * self.source.random())

    def _sum_up(self) -> None:
        self._chances = {}
        for window in self._windows:
            for name, chance in window.items():
                self._chances[name] = min(1.0, self._chances.get(name, 0.0) + chance)
