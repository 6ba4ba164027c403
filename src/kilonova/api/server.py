"""nova-api: the Compute API and the embedded neighbours behind one port."""

import asyncio
import json
from collections.abc import Callable

import structlog

from kilonova import identity, image, network, placement
from kilonova.api.compute.deployment import Deployment
from kilonova.api.front import Front
from kilonova.api.http_server import HttpServer
from kilonova.api.openapi import openapi
from kilonova.api.operations.metrics import Metrics
from kilonova.api.operations.routes import operations_application
from kilonova.api.operations.what_if import Planner
from kilonova.api.table import compute_application, compute_routes
from kilonova.config import Config
from kilonova.database.connection import Database
from kilonova.messaging.bus import Bus
from kilonova.model.clock import Clock, Ids, Random
from kilonova.model.errors import Misconfigured
from kilonova.neighbours import Neighbours

log = structlog.get_logger()


class ApiServer:
    """One nova-api."""

    def __init__(
        self,
        config: Config,
        database: Database,
        bus: Bus,
        neighbours: Neighbours,
        clock: Clock,
        ids: Ids,
        random: Random,
        planner: Callable[[], Planner],
    ) -> None:
        cloud = Deployment(
            config=config,
            database=database,
            bus=bus,
            images=neighbours.images,
            networks=neighbours.networks,
            clock=clock,
            ids=ids,
            random=random,
            host=config.compute.host,
        )
        overrides = _policy_file(config)
        tokens = neighbours.identity
        self._server = HttpServer(
            Front(
                {
                    "/kilonova": operations_application(cloud, tokens, planner, overrides),
                    "/metrics": Metrics(cloud),
                    "/compute": compute_application(cloud, tokens, overrides),
                    "/identity": identity.application(neighbours.identity, overrides=overrides),
                    "/image": image.application(neighbours.images, tokens=tokens, overrides=overrides),
                    "/placement": placement.application(neighbours.placement, tokens=tokens, overrides=overrides),
                    "/network": network.application(neighbours.networks, tokens=tokens, overrides=overrides),
                },
                lambda: openapi(compute_routes(), "/compute"),
            ),
            config.api.host,
            config.api.port,
            reuse_port=config.api.reuse_port,
        )
        self._config = config

    async def start(self) -> None:
        """Begin to answer; the address is left in ``api.json`` of the state directory."""
        await self._server.start()
        url = self._config.api.public_url or f"http://{self._config.api.host}:{self._server.port}"
        await asyncio.to_thread((self._config.state_dir / "api.json").write_text, json.dumps({"url": url}))
        log.info("nova-api answers", url=url)

    async def drain(self, timeout: float) -> None:
        """Take no more requests, finish those that run."""
        await self._server.drain(timeout)


def _policy_file(config: Config) -> dict[str, str] | None:
    file = config.api.policy_file
    if file is None:
        return None
    try:
        rules = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"option api.policy_file: {file} cannot be read as JSON: {error}") from None
    if not isinstance(rules, dict) or not all(isinstance(role, str) for role in rules.values()):
        raise Misconfigured(f"option api.policy_file: {file} must map rule names to roles")
    return rules
