"""Orders and their items, as they stand: what a shop's order page reads.

An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.
"""

from laterna import Decimal, Event, Table, decimal, integer, nullable, projection, record, tagged, text, timestamp

orders = Table(
    "orders",
    key={"order_id": text},
    columns={"customer_id": nullable(text), "status": text, "item_count": integer, "total": decimal, "placed_at": timestamp, "last_offset": integer},
    indexes=[("customer_id", "placed_at")],
)
order_items = Table(
    "order_items",
    key={"order_id": text, "line": integer},  # a line of an order, from 0
    columns={"sku": text, "quantity": integer, "unit_price": decimal},
)

order = orders.upsert("customer_id", "status", "item_count", "total", "placed_at", last_offset="max")
cancelled = orders.update("status", last_offset="max")
order_erased = orders.delete()
item = order_items.upsert("sku", "quantity", "unit_price")
items_erased = order_items.delete_prefix("order_id")


@record
class Item:
    sku: str
    quantity: int
    unit_price: Decimal


@record
class Order:
    order_id: str
    customer_id: str | None
    placed_at_ms: int
    items: list[Item]


@record
class Cancelled:
    order_id: str


OrderEvent = tagged("type", {"order.placed": Order, "order.updated": Order, "order.cancelled": Cancelled})


@projection("order_summary", topics=["orders"])
def apply(event: Event) -> None:
    if event.is_tombstone:
        order_erased(order_id=event.key_text)
        items_erased(order_id=event.key_text)
        return
    kind, o = event.json(OrderEvent)  # o is None: an event of another type
    if kind == "order.cancelled":
        cancelled(order_id=o.order_id, status="cancelled", last_offset=event.offset)
    elif o is not None:
        count, total = 0, Decimal(0)
        for it in o.items:
            count += it.quantity
            total += it.unit_price * it.quantity  # exact, or a reject
        status = "placed" if kind == "order.placed" else "updated"
        order(order_id=o.order_id, customer_id=o.customer_id, status=status, item_count=count, total=total, placed_at=o.placed_at_ms, last_offset=event.offset)
        items_erased(order_id=o.order_id)
        for line, it in enumerate(o.items):
            item(order_id=o.order_id, line=line, sku=it.sku, quantity=it.quantity, unit_price=it.unit_price)
