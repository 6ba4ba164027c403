"""Opens the embedded identity, image, network and placement services of a process that has the database."""

import msgspec

from kilonova import identity, image, network, placement
from kilonova.config import Config
from kilonova.database.connection import Database
from kilonova.database.flavors import seed_flavors
from kilonova.model.clock import Clock, Ids, Random


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside Compute. Each may be replaced by a client of the real service."""

    identity: identity.Identity
    images: image.EmbeddedImages
    networks: network.EmbeddedNetworks
    placement: placement.EmbeddedPlacement


def internal_url(config: Config) -> str:
    """How our own processes reach nova-api."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.api.host, config.api.host)
    return config.api.public_url or f"http://{host}:{config.api.port}"


async def open_neighbours(config: Config, database: Database, clock: Clock, ids: Ids, random: Random) -> Neighbours:
    """All four, on a database whose schema is in place."""
    return Neighbours(
        identity=await identity.open_identity(
            database,
            clock=clock,
            ids=ids,
            rng=random,
            settings=identity.IdentitySettings(
                token_seconds=config.identity.token_hours * 3600,
                region=config.identity.region,
                public_url=config.api.public_url,
                max_limit=config.api.max_limit,
            ),
            catalog=identity.standard_catalog(placement=True),
        ),
        images=await image.open_images(
            database,
            clock=clock,
            ids=ids,
            rng=random,
            settings=image.ImageSettings(
                directory=config.state_dir.absolute() / "images",
                internal_url=internal_url(config),
                max_limit=config.api.max_limit,
            ),
        ),
        networks=network.EmbeddedNetworks(
            database,
            clock,
            ids,
            network.NetworkSettings(
                cidr=config.network.cidr,
                bridge=config.network.bridge,
                dns=tuple(config.network.dns),
                mtu=config.network.mtu,
            ),
        ),
        placement=placement.EmbeddedPlacement(database=database, clock=clock, ids=ids),
    )


async def fill_new_cloud(config: Config, database: Database, neighbours: Neighbours, clock: Clock) -> None:
    """What a fresh cloud holds, as DevStack leaves one: users, flavors, a network. Idempotent.

    A password that was made up is written to ``admin-password`` in the state directory, readable by its owner only.
    """
    made = await identity.bootstrap_identity(neighbours.identity, config.identity.admin_password)
    password = made.password or config.identity.admin_password
    if password:
        file = config.state_dir / "admin-password"
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(password + "\n")
    await database.run(seed_flavors, clock.now())
    await neighbours.networks.bootstrap(made.admin_project_id)
