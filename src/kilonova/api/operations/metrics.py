"""``GET /metrics``: a cloud in numbers, in Prometheus' text format.

Asked for without a token, as scrapers do, so it holds counts only: no name, no id, no project. The numbers are read from
the database when they are asked for, at most once a second, so any nova-api tells those of the whole cloud.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from kilonova.api.compute.deployment import Deployment
from kilonova.database.operations import Pulse, pulse
from kilonova.model.errors import Unavailable
from kilonova.web.application import Receive, Scope, Send

_FRESH = 1.0


class Metrics:
    """The ASGI application of ``/metrics``."""

    def __init__(self, cloud: Deployment) -> None:
        self._cloud = cloud
        self._page = b""
        self._made_at: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, page = 200, await self._current()
        except Unavailable as error:
            status, page = 503, f"# the database does not answer: {error.message}\n".encode()
        headers = [(b"content-type", CONTENT_TYPE_LATEST.encode()), (b"content-length", str(len(page)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page})

    async def _current(self) -> bytes:
        now = self._cloud.clock.monotonic()
        if self._made_at is None or now - self._made_at > _FRESH:
            down_after = self._cloud.config.membership.down_after
            self._page = render(await self._cloud.database.run(pulse, self._cloud.clock.now(), down_after))
            self._made_at = now
        return self._page


def render(of: Pulse) -> bytes:
    """The page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(of))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, of: Pulse) -> None:
        self._of = of

    def collect(self) -> Iterable[Metric]:
        of = self._of
        yield GaugeMetricFamily(
            "kilonova_actions_late",
            "Actions whose lease has run out and that nobody took over yet; normally 0",
            of.late,
        )
        opened = GaugeMetricFamily(
            "kilonova_actions_open", "Actions that are not over, by kind and state", labels=["kind", "state"]
        )
        for (kind, state), count in sorted(of.open_actions.items()):
            opened.add_metric([kind, state], count)
        yield opened
        found = GaugeMetricFamily(
            "kilonova_findings", "What hosts found that is not as it must be, by kind; normally none", labels=["kind"]
        )
        for kind, count in sorted(of.findings.items()):
            found.add_metric([kind], count)
        yield found
        services = GaugeMetricFamily("kilonova_services", "Services by binary and state", labels=["binary", "state"])
        for state, counts in (("up", of.services_up), ("down", of.services_down)):
            for binary, count in sorted(counts.items()):
                services.add_metric([binary, state], count)
        yield services
