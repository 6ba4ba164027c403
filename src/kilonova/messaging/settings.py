"""What can be set about a bus. The defaults are right for production; tests shorten the waits."""

import msgspec


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, limits in messages.

    - ``publish_timeout``: how long a cast may wait for the broker's word before it raises ``BusUnavailable``.
    - ``connect_timeout``: the same for the first connection and for beginning to serve.
    - ``delivery_limit``: how often a message is given to handlers before it goes to ``dead-letter``.
    - ``queue_limit``: how many messages wait in one queue before it refuses; ``topic_limit``: before a
      listener that is too slow loses the oldest.
    - ``redelivery_delay``: the pause after the first failure; it doubles with each, up to ``redelivery_delay_max``.
      A fault that lasts some seconds (a database that restarts) must not use up the attempts.
    - ``reconnect_delay``, ``reconnect_delay_max``: the same for reconnecting, each taken at random between half
      and all of it, so that a thousand hosts do not return in one moment.
    - ``heartbeat``: a broker silent for three of these is gone; whole seconds.
    - ``name``: what the broker's own tools show for our connection.
    """

    publish_timeout: float = 5.0
    connect_timeout: float = 10.0
    delivery_limit: int = 5
    queue_limit: int = 20_000
    topic_limit: int = 1_000
    redelivery_delay: float = 0.5
    redelivery_delay_max: float = 10.0
    reconnect_delay: float = 0.2
    reconnect_delay_max: float = 2.5
    heartbeat: int = 5
    name: str = "kilonova"


def doubled(first: float, limit: float, times: int) -> float:
    """``first`` doubled ``times`` times, at most ``limit``."""
    return min(limit, first * 2.0 ** min(times, 60))
