"""Columns' values and events' fields.

A column's type carries the Python text of its conversion, in which ``{v}`` is the value and ``{at}`` the column's place; a change
becomes one function made of these texts, and so does a record of an event. So what can be decided once is decided when the plugin
is built, and an event meets straight lines only.

Invariant: no value is rounded or cut. What a column cannot hold raises `Reject`, with the column and the value.
"""

from __future__ import annotations

import datetime as _datetime
import decimal as _decimal
import json as _json
import keyword as _keyword
import re as _re
import types as _pytypes
import typing as _typing
import uuid as _uuid
from typing import Any, Callable, NoReturn

from ._contract import types as _t

# Exact or an error: what has more than 38 digits, or would have to be rounded, raises instead.
_EXACT = _decimal.Context(prec=38, traps=[_decimal.Inexact, _decimal.InvalidOperation, _decimal.DivisionByZero, _decimal.Overflow])
_decimal.setcontext(_EXACT)

_DIGITS_MAX = 38
_EPOCH = _datetime.datetime(1970, 1, 1, tzinfo=_datetime.timezone.utc)
_EPOCH_DAY = _datetime.date(1970, 1, 1).toordinal()
_MICROSECOND = _datetime.timedelta(microseconds=1)
_INSTANT = _re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", _re.ASCII)
_DAY = _re.compile(r"(\d{4})-(\d\d)-(\d\d)", _re.ASCII)


class Reject(Exception):
    """The event is at fault, with the reason: it is parked, and later events of its key wait behind it."""


class Halt(Exception):
    """The projection must not go on, with the reason; the checkpoint stays at this event."""


class Unfit(Reject):
    """A value that is not what is wanted; ``path`` grows on the way up."""

    def __init__(self, path: str, wanted: str, value: Any = None, shown: str | None = None) -> None:
        super().__init__()
        self.path, self.wanted, self.shown = path, wanted, shown or _shown(value)

    def __str__(self) -> str:
        path = self.path.removeprefix(".")
        return f"{path}{': ' if path else ''}{self.wanted} wanted, not {self.shown}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = ascii(value)
    return text if len(text) <= 42 else f"{text[:40]}.."


class Micros(int):
    """Microseconds since 1970-01-01T00:00:00Z, for a ``timestamp`` column."""


class RawJson(str):
    """A JSON document that is text already, for a ``json`` column: it goes as it is."""


class Type:
    """The type of a column."""

    def __init__(self, name: str, put: str, nullable: bool = False) -> None:
        self.name, self._put, self.nullable = name, put, nullable

    def cell(self, name: str, at: str) -> str:
        """The text that makes the contract's value of the variable ``name``."""
        put = self._put.format(v=name, at=repr(at))
        return f"NULL if {name} is None else {put}" if self.nullable else put


def nullable(type: Type) -> Type:
    """The same, or None."""
    return Type(type.name, type._put, True)


def _whole_characters(value: str) -> bool:
    """False where half of a character stands in it, from an escape in JSON, which is no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(at: str, wanted: str, value: Any) -> NoReturn:
    raise Unfit(at, wanted, value)


def _decimal_text(at: str, value: Any) -> str:
    if type(value) is int:
        return str(value)
    try:
        number = value if type(value) is _decimal.Decimal else _decimal.Decimal(value) if type(value) is str else None
    except _decimal.InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise Unfit(at, 'a Decimal, a whole number, or text like "12.50"', value)
    if number.adjusted() > _DIGITS_MAX or number.as_tuple().exponent < -_DIGITS_MAX:
        raise Unfit(at, "a decimal number of at most 38 digits", value)
    return format(number, "f")


def _instant(at: str, value: Any) -> int:
    kind = type(value)
    if kind is Micros:
        micros = int(value)
    elif kind is int:
        micros = value * 1000
    elif kind is _datetime.datetime and value.tzinfo is not None:
        micros = (value - _EPOCH) // _MICROSECOND
    else:
        found = _instant_of_text(value) if kind is str else None
        if found is None:
            raise Unfit(at, "an instant (milliseconds since 1970, a datetime with a zone, or text like 2026-01-31T12:00:00Z)", value)
        micros = found
    if not -0x8000000000000000 <= micros <= 0x7FFFFFFFFFFFFFFF:
        raise Unfit(at, "an instant within 292,000 years of 1970", value)
    return micros


def _instant_of_text(text: str) -> int | None:
    parts = _INSTANT.fullmatch(text)
    days = parts and _day_of_text(parts[1])
    if parts is None or days is None:
        return None
    hour, minute, second, zone_hour, zone_minute = (int(parts[i] or 0) for i in (2, 3, 4, 7, 8))
    if hour > 23 or minute > 59 or second > 59 or zone_hour > 23 or zone_minute > 59:
        return None
    zone = (zone_hour * 60 + zone_minute) * (-1 if parts[6] == "-" else 1)
    # Digits beyond microseconds are cut off, as the databases' own readers of RFC 3339 do.
    return (((days * 24 + hour) * 60 + minute - zone) * 60 + second) * 1_000_000 + int((parts[5] or "").ljust(6, "0")[:6])


def _day_of_text(text: str) -> int | None:
    parts = _DAY.fullmatch(text)
    try:
        return parts and _datetime.date(int(parts[1]), int(parts[2]), int(parts[3])).toordinal() - _EPOCH_DAY
    except ValueError:
        return None


def _day(at: str, value: Any) -> int:
    kind = type(value)
    days = value.toordinal() - _EPOCH_DAY if kind is _datetime.date else _day_of_text(value) if kind is str else value if kind is int else None
    # Milliseconds, given by mistake, are beyond 32 bits.
    if days is None or not -0x80000000 <= days <= 0x7FFFFFFF:
        raise Unfit(at, "a day (days since 1970, a date, or text like 2026-01-31)", value)
    return days


def _document(at: str, value: Any) -> str:
    if type(value) is RawJson:
        return str(value)
    try:
        document = _json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Unfit(at, "a JSON value", shown=f"{_shown(value)} ({error})") from None
    return document


_S64 = "-0x8000000000000000 <= {v} <= 0x7fffffffffffffff"
text = Type("TEXT", "Text({v}) if _type({v}) is _str and ({v}.isascii() or _whole({v})) else _bad({at}, 'text of whole characters', {v})")
integer = Type("INTEGER", "Integer({v}) if _type({v}) is _int and " + _S64 + " else _bad({at}, 'a whole number of 64 bits', {v})")
decimal = Type("DECIMAL", "Decimal(_str({v})) if _type({v}) is Exact and _finite({v}) else Decimal(_decimal_text({at}, {v}))")
float_ = Type("FLOAT", "Float({v}) if _type({v}) is _float and {v} - {v} == 0 else _bad({at}, 'a finite float', {v})")
boolean = Type("BOOLEAN", "Boolean({v}) if _type({v}) is _bool else _bad({at}, 'True or False', {v})")
bytes_ = Type("BYTES", "Bytes({v}) if _type({v}) is _bytes else _bad({at}, 'bytes', {v})")
timestamp = Type("TIMESTAMP", "Timestamp({v} * 1000) if _type({v}) is _int and -9223372036854775 <= {v} <= 9223372036854775 else Timestamp(_instant({at}, {v}))")
date = Type("DATE", "Date(_day({at}, {v}))")
uuid = Type("UUID", "Uuid({v}) if _type({v}) is _str and {v}.isascii() else Uuid(_str({v})) if _type({v}) is UUID else _bad({at}, 'a UUID', {v})")
json = Type("JSON", "Json(_document({at}, {v}))")

# No column can have any of these names: they begin with a capital or an underscore. What Python has built in is among them, or a
# column `type` would hide it.
_CELLS = {
    **{case: getattr(_t, f"Value_{case}") for case in "Text Integer Decimal Float Boolean Bytes Timestamp Date Uuid Json".split()},
    **dict(NULL=_t.Value_Null(), Change=_t.Change, Exact=_decimal.Decimal, UUID=_uuid.UUID, _finite=_decimal.Decimal.is_finite),
    **dict(_bad=_bad, _whole=_whole_characters, _decimal_text=_decimal_text, _instant=_instant, _day=_day, _document=_document),
    **dict(_type=type, _str=str, _int=int, _float=float, _bool=bool, _bytes=bytes),
}


def change_function(number: int, name: str, table: str, columns: dict[str, Type], out: list[Any]) -> Callable[..., None]:
    """A function with the columns as named arguments, which appends the change to ``out``.

    One that takes null may be left out; one that is a word of Python is called ``class_``.
    """
    names = {column: column + "_" * _keyword.iskeyword(column) for column in columns}
    arguments = ", ".join(names[column] + ("=None" if type.nullable else "") for column, type in columns.items())
    cells = ", ".join(type.cell(names[column], f"{table}.{column}") for column, type in columns.items())
    scope = {**_CELLS, "_append": out.append}
    exec(f"def {name}(*, {arguments}):\n _append(Change({number}, [{cells}]))", scope)
    function = scope[name]
    function.__doc__ = f"{name} in table {table}: takes effect in the event that is being applied."
    return function


# Records of events.


def record(cls: type) -> type:
    """Makes of an annotated class what is read of a JSON object: ``event.json(Order)``.

    Fields are ``str``, ``int``, ``bool``, ``float``, ``Decimal`` (text or a whole number), ``Any``, other records, ``list[..]`` of
    these, and ``.. | None``, which may also be left out. What does not fit rejects the event, with the field's path.
    """
    hints = _typing.get_type_hints(cls)
    fields = tuple(hints)
    made = type(cls.__name__, (cls,), {"__slots__": fields, "__match_args__": fields, "__doc__": cls.__doc__, "__module__": cls.__module__})
    made.__init__ = _initializer(fields)  # type: ignore[misc]
    made.__eq__ = lambda self, other: type(self) is type(other) and all(getattr(self, f) == getattr(other, f) for f in fields)  # type: ignore[assignment]
    made.__repr__ = lambda self: f"{cls.__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in fields)})"  # type: ignore[assignment]
    made._read = _reader(cls.__name__, made, hints)  # type: ignore[attr-defined]
    return made


def _shape(name: str, doc: str, hints: dict[str, Any]) -> type:
    return record(type(name, (), {"__annotations__": hints, "__doc__": doc, "__module__": __name__}))


def cloud_event(data: Any = Any) -> type:
    """A CloudEvent with data of this type: ``event.json(cloud_event(Paid))``. Wants ``format = "cloudevents"`` for the topic.

    Fields: ``type``, ``source``, ``id``; ``subject``, ``time`` (RFC 3339, as a ``timestamp`` column takes it), ``data`` and
    ``data_base64`` (data that is neither JSON nor text) may be None. Make it once, beside your records.
    """
    maybe = _typing.Optional
    hints = {"type": str, "source": str, "id": str, "subject": maybe[str], "time": maybe[str], "data": maybe[data], "data_base64": maybe[str]}
    return _shape("CloudEvent", "A CloudEvent.", hints)


def row_change(row: Any = Any) -> type:
    """A change that Debezium saw, of rows of this type: ``event.json(row_change(Customer))``. Wants ``format = "debezium"`` for the topic.

    Fields: ``op`` (``c`` create, ``r`` read in a snapshot, ``u`` update, ``d`` delete, ``t`` truncate, ``m`` message); ``before``,
    ``after`` and ``source`` (with ``ts_ms``, ``db``, ``schema``, ``table``) may be None. Make it once, beside your records.
    """
    maybe = _typing.Optional
    source = _shape("ChangeSource", "Where a change was seen.", {"ts_ms": maybe[int], "db": maybe[str], "schema": maybe[str], "table": maybe[str]})
    return _shape("RowChange", "A change of a row.", {"op": str, "before": maybe[row], "after": maybe[row], "source": maybe[source]})


def _initializer(fields: tuple[str, ...]) -> Callable[..., None]:
    scope: dict[str, Any] = {}
    exec(f"def __init__(self, {', '.join(fields)}):\n" + "\n".join(f" self.{f} = {f}" for f in fields), scope)
    return scope["__init__"]


_PLAIN = {str: ("str", "text"), int: ("int", "a whole number"), bool: ("bool", "true or false")}


def _reader(name: str, cls: type, hints: dict[str, Any]) -> Callable[[Any], Any]:
    scope: dict[str, Any] = {"Unfit": Unfit, "cls": cls, "exact": _exact, "real": _real, "locate": _locate}
    lines = ["if type(o) is not dict: raise Unfit('', 'an object', o)", "try:"]
    for number, (field, hint) in enumerate(hints.items()):
        hint, optional = _without_none(hint)
        path = repr(f".{field}")
        variable = f"v{number}"
        step = []
        if hint in _PLAIN:
            kind, wanted = _PLAIN[hint]
            step.append(f"if type({variable}) is not {kind}: raise Unfit({path}, '{wanted}', {variable})")
        elif hint is _decimal.Decimal:
            step.append(f"{variable} = exact({path}, {variable})")
        elif hint is float:
            step.append(f"{variable} = real({path}, {variable})")
        elif _typing.get_origin(hint) is list and not _without_none(_typing.get_args(hint)[0])[1]:
            (inner,) = _typing.get_args(hint)
            scope[f"read{number}"] = _scalar(inner) if _is_scalar(inner) else _of(inner, field)
            step.append(f"if type({variable}) is not list: raise Unfit({path}, 'a list', {variable})")
            step.append(f"try: {variable} = [read{number}(one) for one in {variable}]")
            step.append(f"except Unfit: locate({path}, read{number}, {variable})")
        elif hint is not Any:
            scope[f"read{number}"] = _of(hint, field)
            step.append(f"try: {variable} = read{number}({variable})")
            step.append(f"except Unfit as e: e.path = {path} + e.path; raise")
        lines.append(f" {variable} = o.get({field!r})" if optional else f" {variable} = o[{field!r}]")
        lines += [f" if {variable} is not None:"] * (optional and bool(step)) + [("  " if optional else " ") + line for line in step]
    lines.append(f"except KeyError as e: raise Unfit('.' + e.args[0], {{{', '.join(f'{f!r}: {_wanted(h)!r}' for f, h in hints.items())}}}[e.args[0]], shown='nothing') from None")
    lines.append(f"return cls({', '.join(f'v{n}' for n in range(len(hints)))})")
    exec("def read(o):\n" + "\n".join(f" {line}" for line in lines), scope)
    return scope["read"]


def _without_none(hint: Any) -> tuple[Any, bool]:
    if _typing.get_origin(hint) in (_typing.Union, _pytypes.UnionType):
        rest = [one for one in _typing.get_args(hint) if one is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False


def _wanted(hint: Any) -> str:
    hint = _without_none(hint)[0]
    if hint in _PLAIN:
        return _PLAIN[hint][1]
    return "a list" if _typing.get_origin(hint) is list else "a decimal number" if hint is _decimal.Decimal else "a value" if hint is Any else "a number" if hint is float else "an object"


def _of(hint: Any, field: str) -> Callable[[Any], Any]:
    if hasattr(hint, "_read"):
        return hint._read
    if _typing.get_origin(hint) is list:
        (inner,) = _typing.get_args(hint)
        inner, optional = _without_none(inner)
        one = _scalar(inner) if _is_scalar(inner) else _of(inner, field)
        return lambda value: _listed((lambda v: None if v is None else one(v)) if optional else one, value)
    raise TypeError(f"{field}: {hint!r} cannot be read of JSON: str, int, bool, float, Decimal, Any, a @record, list[..] or .. | None is wanted")


def _scalar(hint: Any) -> Callable[[Any], Any]:
    if hint is _decimal.Decimal:
        return lambda value: _exact("", value)
    if hint is float:
        return lambda value: _real("", value)
    if hint is Any:
        return lambda value: value

    def plain(value: Any) -> Any:
        if type(value) is not hint:
            raise Unfit("", _PLAIN[hint][1], value)
        return value

    return plain


def _listed(read: Callable[[Any], Any], values: Any) -> list[Any]:
    if type(values) is not list:
        raise Unfit("", "a list", values)
    try:
        return [read(value) for value in values]
    except Unfit:
        return _locate("", read, values)


def _locate(path: str, read: Callable[[Any], Any], values: list[Any]) -> NoReturn:
    """Goes through a list once more to find which value it was: so a path costs nothing until it is needed."""
    for at, value in enumerate(values):
        try:
            read(value)
        except Unfit as error:
            error.path = f"{path}[{at}]{error.path}"
            raise
    raise AssertionError("a list that did not fit fits")


def _is_scalar(hint: Any) -> bool:
    return hint in _PLAIN or hint is _decimal.Decimal or hint is float or hint is Any


_NUMBER = _re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,9})?", _re.ASCII)


_SHORT = _re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,18})?")


def _exact(path: str, value: Any) -> _decimal.Decimal:
    if type(value) is str and _SHORT.fullmatch(value):
        return _decimal.Decimal(value)
    if type(value) is not int and not (type(value) is str and _NUMBER.fullmatch(value)):
        raise Unfit(path, 'a decimal number as text, like "12.50", or a whole one', value)
    number = _decimal.Decimal(value)
    if number.adjusted() > _DIGITS_MAX or number.as_tuple().exponent < -_DIGITS_MAX or len(number.as_tuple().digits) > _DIGITS_MAX:
        raise Unfit(path, "a decimal number of at most 38 digits", value)
    return number


def _real(path: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise Unfit(path, "a number", value)
    return float(value)


class Tagged:
    """Records by a field that says which of them an object is."""

    def __init__(self, tag: str, kinds: dict[str, type]) -> None:
        self.tag, self.kinds = tag, {kind: cls._read for kind, cls in kinds.items()}  # type: ignore[attr-defined]

    def _read(self, value: Any) -> tuple[str, Any]:
        kind = value.get(self.tag) if type(value) is dict else _bad("", "an object", value)
        if type(kind) is not str:
            raise Unfit(f".{self.tag}", "text", value.get(self.tag), None if self.tag in value else "nothing")
        read = self.kinds.get(kind)
        return kind, None if read is None else read(value)


def tagged(tag: str, kinds: dict[str, type]) -> Tagged:
    """``event.json(tagged("type", {"order.placed": Order}))`` gives ``("order.placed", Order)``, or the kind and None where it is another one."""
    return Tagged(tag, kinds)
