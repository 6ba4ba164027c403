"""A private RabbitMQ: its own node, cookie, epmd and data; no plugins."""

import secrets
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from kilonova.backing.server import LOOPBACK, PrivateServer

_NODE = "kilonova@localhost"
_VHOST = "kilonova"

# A step may take longer than RabbitMQ's 30 minutes before it is acknowledged; a day is our bound.
# Erlang terms, not rabbitmq.conf: translating that one costs a second of every start. A step may take longer than
# the 30 minutes after which RabbitMQ takes an unacknowledged message back; a day (in milliseconds) is our bound.
_CONFIGURATION = """\
[{{rabbit, [
   {{tcp_listeners, [{{"{loopback}", {port}}}]}},
   {{default_vhost, <<"{vhost}">>}},
   {{default_user, <<"{user}">>}},
   {{default_pass, <<"{password}">>}},
   {{default_user_tags, [administrator]}},
   {{loopback_users, []}},
   {{disk_free_limit, 50000000}},
   {{vm_memory_high_watermark, {{absolute, 536870912}}}},
   {{consumer_timeout, 86400000}},
   {{heartbeat, 20}}
 ]}},
 {{ra, [{{wal_max_size_bytes, 67108864}}]}}].
"""


class RabbitMQ(PrivateServer):
    """One broker. Quorum queues write through to the disk whether ``durable`` or not."""

    kind: ClassVar[str] = "rabbitmq"
    packages: ClassVar[tuple[str, ...]] = ("rabbitmq-server",)
    account: ClassVar[str] = "rabbitmq"
    roles: ClassVar[tuple[str, ...]] = ("server", "epmd")
    port_names: ClassVar[tuple[str, ...]] = ("server", "distribution", "epmd")

    @property
    def url(self) -> str:
        return f"amqp://{self._record.user}:{self.password}@{LOOPBACK}:{self.port}/{_VHOST}"

    @property
    def log(self) -> Path:
        return self.directory / "log" / "rabbitmq.log"

    def _prepare(self) -> None:
        self._binary("/usr/lib/rabbitmq/bin/rabbitmq-server")
        for name in ("log", "data"):
            (self.directory / name).mkdir(exist_ok=True)
            self._adopt(self.directory / name)
        text = _CONFIGURATION.format(
            loopback=LOOPBACK, port=self.port, vhost=_VHOST, user=self._record.user, password=self.password
        )
        self._write("advanced.config", text)
        self._write("environment.conf", "")
        # Whoever has the cookie may run code in the broker, and the one that Erlang makes itself can be guessed.
        if not (self.directory / ".erlang.cookie").exists():
            self._write(".erlang.cookie", secrets.token_urlsafe(24))
        self._write("enabled_plugins", "[].\n")

    def _commands(self) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
        ports = self._record.ports
        epmd = {"ERL_EPMD_PORT": str(ports["epmd"]), "ERL_EPMD_ADDRESS": LOOPBACK}
        # Without RABBITMQ_ALLOW_INPUT its shell script stays as a parent, and a SIGKILL would miss the broker.
        server = {
            **epmd,
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            # There is none; but without a word it would read the one in /etc.
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "environment.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.log.parent),
            "RABBITMQ_LOGS": str(self.log),
            # Idle Erlang schedulers must not spin on a machine that is shared with the guests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }
        return {
            "epmd": ([self._binary("/usr/bin/epmd"), "-address", LOOPBACK, "-port", str(ports["epmd"])], epmd),
            "server": ([self._binary("/usr/lib/rabbitmq/bin/rabbitmq-server"), "-noinput"], server),
        }

    def _answers(self) -> bool:
        """Log in and open the virtual host, in the five frames that AMQP 0-9-1 needs for it."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if _method(connection) != (10, 10):
                    return False
                response = f"\0{self._record.user}\0{self.password}".encode()
                start = (
                    struct.pack(">I", 0) + b"\x05PLAIN" + struct.pack(">I", len(response)) + response + b"\x05en_US"
                )
                connection.sendall(_frame(10, 11, start))
                if _method(connection) != (10, 30):
                    return False
                connection.sendall(_frame(10, 31, struct.pack(">HIH", 1, 131072, 0)))
                vhost = _VHOST.encode()
                connection.sendall(_frame(10, 40, bytes([len(vhost)]) + vhost + b"\x00\x00"))
                return _method(connection) == (10, 41)
        except (OSError, struct.error):
            return False


def _frame(class_id: int, method_id: int, arguments: bytes) -> bytes:
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def _method(connection: socket.socket) -> tuple[int, int]:
    """Class and method of the next frame. Raises ``struct.error`` if the connection ends first."""
    _, _, size = struct.unpack(">BHI", connection.recv(7, socket.MSG_WAITALL))
    payload = connection.recv(size + 1, socket.MSG_WAITALL)
    class_id, method_id = struct.unpack(">HH", payload[:4])
    return class_id, method_id
