"""order_summary on what componentize-py generates, without the SDK: what the SDK is measured against (tests/languages/run)."""

import json
import re
from decimal import Context, Decimal, DecimalException, DivisionByZero, Inexact, InvalidOperation, Overflow, setcontext

import wit_world
from wit_world.imports.types import *

ORDER, CANCELLED, ORDER_ERASED, ITEM, ITEMS_ERASED = range(5)
NULL = Value_Null()
# Decimal would also take spaces, underscores and the digits of other scripts.
PRICE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LEAST, MOST = -(2**63), 2**63 - 1


class Wrong(Exception):
    """The event is at fault."""


def constant(name):
    raise Wrong(f"{name} is no JSON")


DECODER = json.JSONDecoder(parse_constant=constant)


def text(o, name):
    value = o.get(name)
    if type(value) is not str:
        raise Wrong(f"{name}: text wanted")
    return value


def whole(o, name):
    value = o.get(name)
    if type(value) is not int or not LEAST <= value <= MOST:
        raise Wrong(f"{name}: a whole number of 64 bits wanted")
    return value


def amount(o, name):
    value = o.get(name)
    if type(value) is int or type(value) is str and PRICE.fullmatch(value):
        return Decimal(value)
    raise Wrong(f"{name}: a decimal number wanted, as text")


def order(event, o, status):
    order_id, customer_id, placed_at_ms, items = text(o, "order_id"), o.get("customer_id"), whole(o, "placed_at_ms"), o.get("items")
    if customer_id is not None and type(customer_id) is not str:
        raise Wrong("customer_id: text or null wanted")
    if not LEAST <= placed_at_ms * 1000 <= MOST:
        raise Wrong("placed_at_ms: too far off")
    if type(items) is not list:
        raise Wrong("items: a list wanted")
    count, total, rows = 0, Decimal(0), []
    for item in items:
        if type(item) is not dict:
            raise Wrong("items: objects wanted")
        quantity, price = whole(item, "quantity"), amount(item, "unit_price")
        count += quantity
        total += price * quantity
        rows.append((text(item, "sku"), quantity, price))
    if not LEAST <= count <= MOST:
        raise Wrong("too many items")
    key = Value_Text(order_id)
    customer = NULL if customer_id is None else Value_Text(customer_id)
    values = [key, customer, Value_Text(status), Value_Integer(count), Value_Decimal(str(total)), Value_Timestamp(placed_at_ms * 1000), Value_Integer(event.offset)]
    changes = [Change(ORDER, values), Change(ITEMS_ERASED, [key])]
    for line, (sku, quantity, price) in enumerate(rows):
        changes.append(Change(ITEM, [key, Value_Integer(line), Value_Text(sku), Value_Integer(quantity), Value_Decimal(str(price))]))
    return changes


def changes_of(event):
    value = event.value
    if value is None:
        if not isinstance(event.key, Payload_Text):
            raise Wrong("a tombstone wants a key of text")
        key = Value_Text(event.key.value)
        return [Change(ORDER_ERASED, [key]), Change(ITEMS_ERASED, [key])]
    if not isinstance(value, Payload_Text):
        raise Wrong("the value is not UTF-8 text")
    o = DECODER.decode(value.value)
    kind = o.get("type") if type(o) is dict else None
    if kind == "order.placed":
        return order(event, o, "placed")
    if kind == "order.updated":
        return order(event, o, "updated")
    if kind == "order.cancelled":
        return [Change(CANCELLED, [Value_Text(text(o, "order_id")), Value_Text("cancelled"), Value_Integer(event.offset)])]
    if type(kind) is not str:
        raise Wrong("type: text wanted")
    return []


def outcome(event):
    try:
        return Outcome_Changes(changes_of(event))
    except (Wrong, ValueError, RecursionError, DecimalException) as error:
        return Outcome_Reject(f"not an order event: {error!r}")


def columns(key, **others):
    return [Column(name, kind, name == "customer_id") for name, kind in {**key, **others}.items()]


def sets(*names, **others):
    return [Assignment(name, Operation.SET) for name in names] + [Assignment(name, operation) for name, operation in others.items()]


T = ColumnType
ORDERS_KEY, ITEMS_KEY = {"order_id": T.TEXT}, {"order_id": T.TEXT, "line": T.INTEGER}
DESCRIPTOR = Descriptor(
    "order_summary",
    1,
    [Topic("orders", Encoding.TEXT, Encoding.TEXT, [])],
    [
        Table(
            "orders",
            columns(ORDERS_KEY, customer_id=T.TEXT, status=T.TEXT, item_count=T.INTEGER, total=T.DECIMAL, placed_at=T.TIMESTAMP, last_offset=T.INTEGER),
            [*ORDERS_KEY],
            [Index(["customer_id", "placed_at"], IndexKind.ORDERED)],
            Partitioning.BY_PARTITION,
        ),
        Table("order_items", columns(ITEMS_KEY, sku=T.TEXT, quantity=T.INTEGER, unit_price=T.DECIMAL), [*ITEMS_KEY], [], Partitioning.BY_PARTITION),
    ],
    [
        Shape("orders", Action_Upsert(sets("customer_id", "status", "item_count", "total", "placed_at", last_offset=Operation.MAX))),
        Shape("orders", Action_Update(sets("status", last_offset=Operation.MAX))),
        Shape("orders", Action_Delete()),
        Shape("order_items", Action_Upsert(sets("sku", "quantity", "unit_price"))),
        Shape("order_items", Action_DeletePrefix(1)),
    ],
)
# Exact, or an error.
setcontext(Context(prec=38, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow]))


class WitWorld(wit_world.WitWorld):
    def describe(self):
        return DESCRIPTOR

    def apply(self, batch):
        return [outcome(event) for event in batch.events]
