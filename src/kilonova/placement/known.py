"""Whether what a question names exists: resource classes and traits that nobody made are the client's mistake."""

from collections.abc import Iterable

from sqlalchemy.engine import Connection

from kilonova.database import resource_classes, traits
from kilonova.model.errors import Invalid
from kilonova.model.inventory import STANDARD_CLASSES
from kilonova.model.provider import Group
from kilonova.model.traits import standard_traits


def check_groups(connection: Connection, groups: Iterable[Group]) -> None:
    """Raise ``Invalid`` if a group names a class or a trait that there is not."""
    asked = list(groups)
    for name in sorted({name for group in asked for name in group.resources} - set(STANDARD_CLASSES)):
        if not resource_classes.exists(connection, name):
            raise Invalid(f"Invalid resource class in resources parameter: No such resource class {name[:255]}.")
    named = {name for group in asked for some in [*group.required, group.forbidden] for name in some}
    if named:
        check_traits(connection, named)


def check_traits(connection: Connection, names: Iterable[str]) -> None:
    """Raise ``Invalid`` if one of the traits is neither standard nor made by an operator; they stay for this transaction."""
    unknown = traits.unknown(connection, names, standard_traits())
    if unknown:
        raise Invalid(f"No such trait(s): {', '.join(name[:255] for name in unknown[:10])}.")
