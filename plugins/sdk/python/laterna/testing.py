"""What a projection makes of an event, for its author's tests: on plain Python, in names instead of numbers."""

from __future__ import annotations

import json
from typing import Any, Mapping

from . import Plugin
from ._contract import types as _t


def outcome_of(
    plugin: Plugin,
    *,
    topic: str | None = None,
    partition: int = 0,
    offset: int = 0,
    timestamp: int = -1,
    key: str | bytes | None = None,
    value: Any = None,
    headers: Mapping[str, str | bytes | None] = {},
) -> dict[str, Any]:
    """The outcome of one event: ``{"changes": [(action, table, row), ..]}``, ``{"reject": reason}`` or ``{"halt": reason}``.

    A dict or list as ``value`` stands for its JSON text; without ``value`` the event is a tombstone. Values of a row are the
    contract's: decimals as text, instants in microseconds, days since 1970.
    """
    descriptor = plugin.describe()
    wanted = next((one for one in descriptor.topics if topic in (None, one.name)), None)
    if wanted is None:
        raise TypeError(f"the projection reads no topic {topic}")
    made = [_t.Header(name, _payload(text, _t.Encoding.TEXT)) for name, text in headers.items() if name in wanted.headers]
    event = _t.Event(offset, timestamp, _payload(key, wanted.key), _payload(value, wanted.value), made)
    (outcome,) = plugin.apply(_t.Batch(wanted.name, partition, [event]))
    if type(outcome) is not _t.Outcome_Changes:
        return {"reject" if type(outcome) is _t.Outcome_Reject else "halt": outcome.value}
    return {"changes": [_named(descriptor, change) for change in outcome.value]}


def _payload(value: Any, encoding: Any) -> Any:
    if value is None:
        return None
    data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    if encoding is _t.Encoding.TEXT or encoding == _t.Encoding.TEXT:
        try:
            return _t.Payload_Text(data.decode())
        except UnicodeDecodeError:
            pass
    return _t.Payload_Bytes(data)


def _named(descriptor: Any, change: Any) -> tuple[str, str, dict[str, Any]]:
    shape = descriptor.shapes[change.shape]
    key = next(table.primary_key for table in descriptor.tables if table.name == shape.table)
    kind = type(shape.action).__name__.removeprefix("Action_")
    if kind == "DeletePrefix":
        columns = key[: shape.action.value]
    elif kind == "Delete":
        columns = key
    else:
        columns = key + [one if kind == "Insert" else one.column for one in shape.action.value]
    action = {"DeletePrefix": "delete_prefix"}.get(kind, kind.lower())
    return action, shape.table, {column: getattr(value, "value", None) for column, value in zip(columns, change.values)}
