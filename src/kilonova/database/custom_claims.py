"""Claims of what operators added to hosts (``host_inventories``): the ledger's, in the same transaction as cores and memory.

Always after the host's own row, class by class in order: transactions wait for each other in one direction.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import host_inventories

_i = host_inventories.c
_amount = sa.bindparam("amount", type_=sa.BigInteger)
_ONE = sa.and_(_i.host == sa.bindparam("on_host"), _i.resource_class == sa.bindparam("of_class"))
_CLAIM = (
    host_inventories.update()
    .where(
        _ONE,
        _i.used + _amount <= _i.capacity,
        _i.min_unit <= _amount,
        _i.max_unit >= _amount,
        _amount % _i.step_size == 0,
    )
    .values(used=_i.used + _amount)
)
_RETURN = host_inventories.update().where(_ONE).values(used=_i.used - _amount)


def claim(connection: Connection, host: str, amounts: Mapping[str, int]) -> bool:
    """Take these from the host, or False if it has not that much of one of them; roll back then."""
    return all(
        connection.execute(_CLAIM, {"on_host": host, "of_class": name, "amount": amounts[name]}).rowcount == 1
        for name in sorted(amounts)
    )


def give_back(connection: Connection, host: str, amounts: Mapping[str, int]) -> None:
    """Return what was taken."""
    for name in sorted(amounts):
        connection.execute(_RETURN, {"on_host": host, "of_class": name, "amount": amounts[name]})
