"""The contract's types: componentize-py's bindings in the sandbox, and their likes where a test runs on plain Python.

Invariant: what is built here has the names, the fields and the order of the bindings, so that the rest of the SDK cannot tell which it has.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

try:
    from wit_world.imports import log as _log  # type: ignore[import-not-found]
    from wit_world.imports import types  # type: ignore[import-not-found]

    types = types

    def write(level: str, message: str) -> None:
        """Writes one line of the projection's log."""
        _log.write(_log.Level[level.upper()], message)

except ImportError:

    class _Record:
        """A record or a case of a variant: compared and shown by its fields."""

        fields: tuple[str, ...] = ()

        def __init__(self, *values: Any) -> None:
            if len(values) != len(self.fields):
                raise TypeError(f"{type(self).__name__} has the fields {self.fields}")
            self.__dict__.update(zip(self.fields, values))

        def __eq__(self, other: object) -> bool:
            return type(self) is type(other) and self.__dict__ == other.__dict__

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(map(repr, self.__dict__.values()))})"

    def _record(name: str, fields: str = "") -> type:
        return type(name, (_Record,), {"fields": tuple(fields.split())})

    def _enum(names: str) -> Any:
        return SimpleNamespace(**{name: name for name in names.split()})

    types = SimpleNamespace(
        Event=_record("Event", "offset timestamp_ms key value headers"),
        Header=_record("Header", "name value"),
        Batch=_record("Batch", "topic partition events"),
        Change=_record("Change", "shape values"),
        Topic=_record("Topic", "name key value headers"),
        Column=_record("Column", "name column_type nullable"),
        Index=_record("Index", "columns kind"),
        Table=_record("Table", "name columns primary_key indexes partitioning"),
        Assignment=_record("Assignment", "column operation"),
        Shape=_record("Shape", "table action"),
        Descriptor=_record("Descriptor", "name revision topics tables shapes"),
        Value_Null=_record("Value_Null"),
        Action_Delete=_record("Action_Delete"),
        Encoding=_enum("TEXT BYTES"),
        ColumnType=_enum("BOOLEAN INTEGER FLOAT DECIMAL TEXT BYTES TIMESTAMP DATE UUID JSON"),
        IndexKind=_enum("ORDERED FULL_TEXT"),
        Partitioning=_enum("BY_PARTITION COMMUTATIVE SERIAL"),
        Operation=_enum("SET ADD MAX MIN SET_IF_NULL NEWER"),
    )
    for _case in (
        "Payload_Text Payload_Bytes Value_Boolean Value_Integer Value_Float Value_Decimal Value_Text Value_Bytes Value_Timestamp "
        "Value_Date Value_Uuid Value_Json Outcome_Changes Outcome_Reject Outcome_Halt Action_Upsert Action_Update Action_Insert Action_DeletePrefix"
    ).split():
        setattr(types, _case, _record(_case, "value"))

    def write(level: str, message: str) -> None:
        """Writes one line to stderr: where no engine is, a test's output is the log."""
        print(f"{level}: {message}", file=sys.stderr)
