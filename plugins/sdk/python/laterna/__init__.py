"""Laterna projections in Python: tables and changes that are declared once, and a function from an event to changes.

Invariants: a projection takes what was declared since the last one. A change has effect in the event that is being applied only.
A fault leaves nothing of its event's changes.
"""

from __future__ import annotations

import json as _json
from decimal import Decimal
from decimal import DecimalException as _DecimalException
from typing import Any, Callable, Iterable, Mapping, Sequence

from . import _values
from ._contract import types as _t
from ._contract import write as _write
from ._values import Halt, Micros, RawJson, Reject, Type, bytes_, boolean, cloud_event, date, decimal, float_, integer, json, nullable, record, row_change, tagged, text, timestamp, uuid

__all__ = (
    "Decimal Event Halt Micros RawJson Reject Table Topic boolean bytes_ cloud_event date decimal float_ integer json log nullable projection record "
    "row_change tagged text timestamp uuid"
).split()

_tables: list[Any] = []
_shapes: list[Any] = []
_out: list[Any] = []
"""The changes of the event that is being applied."""


class Table:
    """A table of the read model.

    ``key``: the columns of its primary key; ``columns``: the others. ``indexes``: tuples of columns, or ``{"full_text": (..)}``.
    ``partitioning``: without it, each row is only ever changed by events of one partition; "commutative": rows are shared, and
    changed by add, max, min, or under newer; "serial": anything else, by one writer.
    """

    def __init__(
        self,
        name: str,
        key: Mapping[str, Type],
        columns: Mapping[str, Type] = {},
        indexes: Iterable[Sequence[str] | Mapping[str, Sequence[str]]] = (),
        partitioning: str = "by_partition",
    ) -> None:
        self.name, self._key, self._columns, self._all = name, dict(key), dict(columns), {**key, **columns}
        for column, type in self._all.items():
            if not isinstance(type, Type):
                raise self._wrong(f"{column} has no type of a column")
            if column in key and (type.nullable or column in columns):
                raise self._wrong(f"{column} is in the key and cannot be {'nullable' if type.nullable else 'in the columns too'}")
        made = [_t.Index(list(i["full_text"]), _t.IndexKind.FULL_TEXT) if isinstance(i, Mapping) else _t.Index(list(i), _t.IndexKind.ORDERED) for i in indexes]
        for index in made:
            for column in index.columns:
                self._known(column)
        kinds = [_t.Column(column, getattr(_t.ColumnType, type.name), type.nullable) for column, type in self._all.items()]
        _tables.append(_t.Table(name, kinds, list(key), made, getattr(_t.Partitioning, partitioning.upper().replace("-", "_"))))

    def upsert(self, *columns: str, **operations: str) -> Callable[..., None]:
        """Insert the row, or combine it with the stored one: plain names are set. Names every column that takes no null.

        Gives a function with the columns as named arguments; each call is a change of the event that is being applied.
        """
        return self._combine("upsert", _t.Action_Upsert, self._whole("upsert", self._assigned(columns, operations)))

    def update(self, *columns: str, **operations: str) -> Callable[..., None]:
        """Combine with the stored row; nothing where there is none."""
        return self._combine("update", _t.Action_Update, self._assigned(columns, operations))

    def insert(self, *columns: str) -> Callable[..., None]:
        """Insert the row; nothing where there is one."""
        self._whole("insert", self._assigned(columns, {}))
        return self._shape("insert", _t.Action_Insert(list(columns)), [*self._key, *columns])

    def delete(self) -> Callable[..., None]:
        """Delete the row, if there is one."""
        return self._shape("delete", _t.Action_Delete(), list(self._key))

    def delete_prefix(self, *columns: str) -> Callable[..., None]:
        """Delete all rows that agree in these first columns of the key."""
        if not columns or list(columns) != list(self._key)[: len(columns)]:
            raise self._wrong(f"delete_prefix names the first columns of the key: {', '.join(self._key)}")
        return self._shape("delete_prefix", _t.Action_DeletePrefix(len(columns)), list(columns))

    def _wrong(self, what: str) -> TypeError:
        return TypeError(f"table {self.name}: {what}")

    def _known(self, column: str) -> Type:
        if column not in self._all:
            raise self._wrong(f"there is no column {column}; there are {', '.join(self._all)}")
        return self._all[column]

    def _assigned(self, columns: Sequence[str], operations: Mapping[str, str]) -> dict[str, str]:
        assigned = {**{column: "set" for column in columns}, **operations}
        for column, operation in assigned.items():
            self._known(column)
            if column in self._key:
                raise self._wrong(f"{column} is in the key, and a change sets columns outside it")
            if operation not in ("set", "add", "max", "min", "set_if_null", "newer"):
                raise self._wrong(f"{column}: no operation {operation}; there are set, add, max, min, set_if_null, newer")
        return assigned

    def _whole(self, what: str, assigned: dict[str, str]) -> dict[str, str]:
        missing = [column for column, type in self._columns.items() if not type.nullable and column not in assigned]
        if missing:
            raise self._wrong(f"{what} makes rows, and names no value for {', '.join(missing)}, which take no null")
        return assigned

    def _combine(self, name: str, action: Any, assigned: dict[str, str]) -> Callable[..., None]:
        assignments = [_t.Assignment(column, getattr(_t.Operation, operation.upper())) for column, operation in assigned.items()]
        return self._shape(name, action(assignments), [*self._key, *assigned])

    def _shape(self, name: str, action: Any, columns: Sequence[str]) -> Callable[..., None]:
        _shapes.append(_t.Shape(self.name, action))
        return _values.change_function(len(_shapes) - 1, name, self.name, {column: self._all[column] for column in columns}, _out)


class Topic:
    """A topic, where its name does not say enough: binary keys and values, and the headers that are wanted."""

    def __init__(self, name: str, *, headers: Sequence[str] = (), binary_key: bool = False, binary_value: bool = False) -> None:
        encoding = lambda binary: _t.Encoding.BYTES if binary else _t.Encoding.TEXT
        self._topic = _t.Topic(name, encoding(binary_key), encoding(binary_value), list(headers))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = _json.JSONDecoder(parse_constant=_refuse_constant)
_scan = _decoder.scan_once


def _decode(text: str) -> Any:
    # The decoder's own `decode` looks for spaces around the value first, by two regular expressions.
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


class Event:
    """One record of a topic."""

    __slots__ = ("topic", "partition", "offset", "_record")

    topic: str
    partition: int
    offset: int
    """Position in the partition. Neighbours may be further than 1 apart."""

    def __init__(self, topic: str, partition: int, record: Any) -> None:
        self.topic, self.partition, self.offset, self._record = topic, partition, record.offset, record

    @property
    def timestamp(self) -> int | None:
        """Milliseconds since 1970-01-01T00:00:00Z; None where the record has none."""
        return None if self._record.timestamp_ms < 0 else self._record.timestamp_ms

    @property
    def key(self) -> bytes | None:
        """The key's bytes; None for a null key."""
        return _bytes(self._record.key)

    @property
    def key_text(self) -> str:
        """The key as text. Rejects where it is null or not UTF-8."""
        if self._record.key is None:
            raise Reject("the event has no key")
        return _text(self._record.key, "key")

    @property
    def is_tombstone(self) -> bool:
        """Whether it has no value: what its key names is gone."""
        return self._record.value is None

    @property
    def bytes(self) -> bytes | None:
        """The value's bytes; None for a tombstone."""
        return _bytes(self._record.value)

    @property
    def text(self) -> str | None:
        """The value as text; None for a tombstone. Rejects where it is not UTF-8."""
        return None if self._record.value is None else _text(self._record.value, "value")

    def json(self, model: Any = None) -> Any:
        """The value as JSON; None for a tombstone.

        ``model``: a `record`, or `tagged` ones. Rejects where the value is not JSON or does not fit, and says where.
        """
        value = self._record.value
        if value is None:
            return None
        text = value.value if type(value) is _t.Payload_Text else _text(value, "value")
        try:
            value = _decode(text)
            return value if model is None else model._read(value)
        except (ValueError, RecursionError) as error:
            raise Reject(f"the value is not JSON: {error}") from None
        except _values.Unfit as error:
            raise Reject(f"the value is not the JSON that is read here: {error}") from None

    def header(self, name: str) -> bytes | None:
        """The bytes of the last header of this name; None where there is none or it is null. The topic must ask for it."""
        for header in reversed(self._record.headers):
            if header.name == name:
                return _bytes(header.value)
        return None

    def header_text(self, name: str) -> str | None:
        """The same as text; None also where it is not UTF-8."""
        header = self.header(name)
        try:
            return None if header is None else header.decode()
        except UnicodeDecodeError:
            return None

    def headers(self, name: str) -> list[bytes | None]:
        """All headers of this name."""
        return [_bytes(header.value) for header in self._record.headers if header.name == name]


def _bytes(payload: Any) -> bytes | None:
    if payload is None:
        return None
    return payload.value if type(payload) is _t.Payload_Bytes else payload.value.encode()


def _text(payload: Any, what: str) -> str:
    if type(payload) is _t.Payload_Text:
        return payload.value
    try:
        return payload.value.decode()
    except UnicodeDecodeError:
        raise Reject(f"the {what} is not UTF-8 text ({len(payload.value)} bytes)") from None


class _Log:
    """Lines in the projection's log."""

    def trace(self, message: object) -> None: _write("trace", str(message))
    def debug(self, message: object) -> None: _write("debug", str(message))
    def info(self, message: object) -> None: _write("info", str(message))
    def warn(self, message: object) -> None: _write("warn", str(message))
    def error(self, message: object) -> None: _write("error", str(message))


log = _Log()


class Plugin:
    """A projection: what it is, and what it makes of events."""

    def __init__(self, descriptor: Any, function: Callable[[Event], None]) -> None:
        self._descriptor, self._function = descriptor, function
        # `random.seed` where the plugin uses that module: each event has numbers of its own, whatever the batch.
        self._seed: Callable[[str], None] | None = None

    def __call__(self, event: Event) -> None:
        self._function(event)

    def describe(self) -> Any:
        """The contract's descriptor."""
        return self._descriptor

    def apply(self, batch: Any) -> list[Any]:
        """One outcome for each event, in order."""
        function, outcomes, topic, partition, seed = self._function, [], batch.topic, batch.partition, self._seed
        for event in batch.events:
            try:
                if seed is not None:
                    seed(f"{self._descriptor.name}/{topic}/{partition}/{event.offset}")
                function(Event(topic, partition, event))
                outcomes.append(_t.Outcome_Changes(_out.copy()))
            except Reject as error:
                outcomes.append(_t.Outcome_Reject(str(error)))
            except Halt as error:
                outcomes.append(_t.Outcome_Halt(str(error)))
            except _DecimalException as error:
                outcomes.append(_t.Outcome_Reject(f"a decimal number has no exact form of 38 digits ({type(error).__name__})"))
            except Exception as error:
                # A bug, not the event's fault: it ends the call, and the engine shows these words with the event.
                _write("error", _where(error))
                raise
            finally:
                _out.clear()
        return outcomes


def _where(error: Exception) -> str:
    # Not by the module traceback: it looks for the source's text, and there are no files in the sandbox.
    frames, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        frames.insert(0, f"{code.co_filename.rsplit('/', 1)[-1]}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    return f"{type(error).__name__}: {error} ({' <- '.join(frames[:-1])})"


last: Plugin | None = None
"""The plugin that was made last: what the component runs."""


def projection(name: str, *, topics: Sequence[str | Topic], revision: int = 1) -> Callable[[Callable[[Event], None]], Plugin]:
    """Makes a function of an event the projection of all tables declared so far.

    ``revision`` is raised when the meaning of the rows changes, so that a rebuild is due.
    """

    def made(function: Callable[[Event], None]) -> Plugin:
        global last
        wanted = [(topic if isinstance(topic, Topic) else Topic(topic))._topic for topic in topics]
        last = Plugin(_t.Descriptor(name, revision, wanted, _tables.copy(), _shapes.copy()), function)
        _tables.clear()
        _shapes.clear()
        return last

    return made
