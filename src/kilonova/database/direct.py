"""Statements that live as long as the program, executed without asking SQLAlchemy again what they mean.

SQLAlchemy writes every statement and knows every type; but to *execute* one it looks up its compiled form, collects
the parameters and builds a result with every comfort, which costs four times what SQLite takes for the statement
itself. A statement that is executed for the third time is therefore compiled into a :class:`_Plan`: the text, the order
of its parameters, what converts them and what comes back. :class:`DirectConnection` is SQLAlchemy's connection, except
that it executes such statements by their plan. All others (made for one call, with RETURNING)
go SQLAlchemy's way; so do transactions, savepoints and errors.

Decision 0061 holds the measurements.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult, Dialect, Engine, RootTransaction
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.engine.row import Row
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from kilonova.database.transactions import T

_SEEN_OFTEN = 3
"""A statement made for one call is rarely executed so often; compiling it for one call would be dear."""

_MOST_PLANS = 64
"""Of one statement. One with a list of values has a text for each length; beyond that SQLAlchemy shall care."""

_Convert = Callable[[Any], Any]
_SAVEPOINTS: dict[type, str] = {
    SavepointClause: "SAVEPOINT",
    RollbackToSavepointClause: "ROLLBACK TO SAVEPOINT",
    ReleaseSavepointClause: "RELEASE SAVEPOINT",
}
_KINDS = (sa.Select, sa.CompoundSelect, sa.Insert, sa.Update, sa.Delete)


class Rows:
    """What a statement has brought: the part of SQLAlchemy's ``CursorResult`` that transactions use. All rows are here."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        """Every row."""
        return self._rows

    def first(self) -> Any:
        """The first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row. Raises ``NoResultFound`` or ``MultipleResultsFound``."""
        if not self._rows:
            raise sa.exc.NoResultFound("No row was found when one was required")
        return self.one_or_none()

    def one_or_none(self) -> Any:
        """The only row, or None. Raises ``MultipleResultsFound``."""
        if len(self._rows) > 1:
            raise sa.exc.MultipleResultsFound("Multiple rows were found when exactly one was required")
        return self.first()

    def scalars(self) -> "Rows":
        """The first value of every row."""
        return Rows([row[0] for row in self._rows], self.rowcount)

    def scalar(self) -> Any:
        """The first value of the first row, or None."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """The first value of the only row. Raises ``NoResultFound`` or ``MultipleResultsFound``."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """The first value of the only row, or None. Raises ``MultipleResultsFound``."""
        row = self.one_or_none()
        return None if row is None else row[0]


class _Parameter:
    """One place of a statement: the name it is given under, what stands there otherwise, and what converts it.

    ``at``: its place in the list that is given under that name, for one of those in an IN.
    """

    __slots__ = ("at", "convert", "default", "key", "required")

    def __init__(self, compiled: SQLCompiler, name: str, at: int | None = None) -> None:
        bound = compiled.binds[name]
        self.key = bound.key
        self.at = at
        self.required = bound.required
        self.default: Callable[[], Any] = _default_of(compiled, name) or (lambda: bound.effective_value)
        self.convert = cast("_Convert | None", compiled._bind_processors.get(name))

    def of(self, values: Mapping[str, Any]) -> Any:
        """Its value for the database, of those that a transaction gives."""
        if self.key in values:
            value = values[self.key]
        elif self.required:
            raise sa.exc.InvalidRequestError(f"A value is required for bind parameter {self.key!r}")
        else:
            value = self.default()
        if self.at is not None:
            value = value[self.at]
        return value if self.convert is None else self.convert(value)


def _default_of(compiled: SQLCompiler, name: str) -> Callable[[], Any] | None:
    """What a column takes when nobody says: only for columns that the compiler has added by itself."""
    for columns, attribute in ((compiled.insert_prefetch, "default"), (compiled.update_prefetch, "onupdate")):
        for column in columns:
            if column.key == name:
                default = getattr(column, attribute)
                return partial(_given, default.arg) if default.is_scalar else partial(default.arg, None)
    return None


def _given(value: Any) -> Any:
    return value


class _Plan:
    """A statement as a database driver takes it. Holds nothing of the statement, which may die."""

    def __init__(self, compiled: SQLCompiler, values: Mapping[str, Any]) -> None:
        self._text, names = str(compiled), list(compiled.positiontup or ())
        self._dialect = compiled.dialect
        places: dict[str, _Parameter] = {}
        if compiled.post_compile_params:
            expanded = compiled.construct_expanded_state(dict(values))
            self._text, names = expanded.statement, list(expanded.positiontup or ())
            places = {
                each: _Parameter(compiled, name, at)
                for name, elements in expanded.parameter_expansion.items()
                for at, each in enumerate(elements)
            }
        self._parameters = [places.get(name) or _Parameter(compiled, name) for name in names]
        self._columns = [(entry.keyname, tuple(entry.objects), entry.type) for entry in compiled._result_columns]
        self._metadata: SimpleResultMetaData | None = None

    def run(self, connection: Connection, values: Any) -> Rows:
        """Execute it. ``values`` is a mapping, None, or a list of mappings for as many executions."""
        raw: Any = connection.connection
        cursor = raw.cursor()
        given: Any = ()
        try:
            if isinstance(values, list):
                given = [tuple([parameter.of(each) for parameter in self._parameters]) for each in values]
                cursor.executemany(self._text, given)
            else:
                if self._parameters:
                    mapping = values or {}
                    given = tuple([parameter.of(mapping) for parameter in self._parameters])
                cursor.execute(self._text, given)
            return self._taken(cursor) if self._columns else Rows((), cursor.rowcount)
        except BaseException as error:
            connection._handle_dbapi_exception(error, self._text, given, cursor, None)
        finally:
            cursor.close()

    def _taken(self, cursor: Any) -> Rows:
        found = cursor.fetchall()
        metadata = self._metadata
        if metadata is None:
            metadata = self._metadata = self._described(cursor.description)
        converts, indices = metadata._processors, metadata._key_to_index
        return Rows([Row(metadata, converts, indices, data) for data in found], len(found))

    def _described(self, description: Sequence[Sequence[Any]]) -> SimpleResultMetaData:
        # Some drivers' conversions depend on the type that the database names, so this waits for the first answer.
        converts = [
            kind._cached_result_processor(self._dialect, told[1])
            for (_, _, kind), told in zip(self._columns, description, strict=True)
        ]
        return SimpleResultMetaData(
            [name for name, _, _ in self._columns],
            extra=[objects for _, objects, _ in self._columns],
            _processors=converts if any(converts) else None,
        )


class _Known:
    """A statement that was seen: how often, and its plans. None: it has none.

    Its text may depend on the values: an INSERT's and UPDATE's on which columns are given, that of an IN on how many.
    """

    __slots__ = ("by_names", "lists", "plans", "seen", "statement")

    def __init__(self, statement: Any, forget: Callable[[Any], object]) -> None:
        self.statement = weakref.ref(statement, forget)
        self.seen = 0
        self.by_names = isinstance(statement, sa.Insert | sa.Update)
        self.lists: tuple[str, ...] | None = None  # not known before it is compiled
        self.plans: dict[object, _Plan | None] = {}

    def key(self, values: Any) -> object:
        """What the text depends on."""
        if isinstance(values, list):
            return (tuple(values[0]),)
        names = tuple(values or ()) if self.by_names else None
        if self.lists:
            return (names, *(len(values[name]) for name in self.lists if name in values))
        return names


class Plans:
    """The plans of one engine. A statement's plans go when it does."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[int, _Known] = {}

    def find(self, statement: Any, values: Any) -> _Plan | None:
        """How to execute this with such values, or None if SQLAlchemy shall."""
        number = id(statement)
        known = self._known.get(number)
        if known is None:
            if type(statement) in _KINDS:
                self._known[number] = _Known(statement, lambda _: self._known.pop(number, None))
            return None
        if known.seen < _SEEN_OFTEN:
            known.seen += 1
            return None
        if isinstance(values, list) and not values:
            return None
        if known.lists is not None:
            try:
                return known.plans[known.key(values)]
            except KeyError:
                if len(known.plans) >= _MOST_PLANS:
                    return None
        compiled = self._compiled(statement, values)
        if known.lists is None:
            known.lists = tuple(sorted({bound.key for bound in compiled.post_compile_params if bound.required}))
        plan = known.plans[known.key(values)] = self._planned(statement, compiled, values)
        return plan

    def _compiled(self, statement: Any, values: Any) -> SQLCompiler:
        many = isinstance(values, list)
        given = (values[0] if values else None) if many else values
        compiled = statement.compile(
            dialect=self._dialect,
            column_keys=sorted(given or ()),
            # Nobody asks for the key that the database has given, so it need not tell it.
            for_executemany=many or isinstance(statement, sa.Insert),
        )
        return cast("SQLCompiler", compiled)

    @staticmethod
    def _planned(statement: Any, compiled: SQLCompiler, values: Any) -> _Plan | None:
        dml, many = isinstance(statement, sa.Insert | sa.Update | sa.Delete), isinstance(values, list)
        if (dml and statement._returning) or (many and not dml):
            return None
        if compiled.literal_execute_params or compiled.effective_returning or (many and compiled.post_compile_params):
            return None  # its text depends on more than the names and lengths, or it answers with rows
        return _Plan(compiled, {} if many else values or {})


class DirectConnection(Connection):
    """SQLAlchemy's connection, with plans. ``begin``: what it says to begin a transaction, if its driver would not say it."""

    def __init__(self, engine: Engine, plans: Plans, begin: str = "") -> None:
        super().__init__(engine)
        self._plans = plans
        self._begin = begin

    def _begin_impl(self, transaction: RootTransaction) -> None:
        if self._begin:
            self.say(self._begin)
        else:
            super()._begin_impl(transaction)

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> CursorResult[Any]:
        """As SQLAlchemy's; what comes back is :class:`Rows` for a statement with a plan."""
        plan = None if execution_options else self._plans.find(statement, parameters)
        if plan is not None:
            return cast("CursorResult[Any]", plan.run(self, parameters))
        if (word := _SAVEPOINTS.get(type(statement))) is not None:
            return cast("CursorResult[Any]", self.say(f"{word} {statement.ident}"))
        return super().execute(statement, parameters, execution_options=execution_options)

    def say(self, words: str) -> Rows:
        """Words that are no statement of a table: savepoints, settings."""
        raw: Any = self.connection
        try:
            cursor = raw.cursor()
            cursor.execute(words, ())
            cursor.close()
        except BaseException as error:
            self._handle_dbapi_exception(error, words, (), None, None)
        return Rows((), -1)

    def apart(self, work: Callable[[Connection], T]) -> T:
        """Do this within the transaction as if it were one of its own: an error undoes it alone."""
        self.say("SAVEPOINT apart")
        try:
            value = work(self)
        except Exception:
            self.say("ROLLBACK TO SAVEPOINT apart")
            self.say("RELEASE SAVEPOINT apart")
            raise
        self.say("RELEASE SAVEPOINT apart")
        return value

    def scalar(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """As SQLAlchemy's."""
        return self.execute(statement, parameters, execution_options=execution_options).scalar()
