"""What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.

Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
raise the revision when the meaning of rows that are already there changes.
"""

from laterna import Event, Reject, Table, boolean, date, decimal, float_, integer, json, nullable, projection, text, timestamp, uuid

rows = Table(
    "kinds",
    key={"order_id": text},
    columns={
        "at": nullable(timestamp),
        "big": nullable(integer),
        "class_value": nullable(text),
        "day": nullable(date),
        "id": nullable(uuid),
        "items": nullable(json),
        "n": integer,
        "note": nullable(text),
        "paid": nullable(boolean),
        "placed_at": nullable(timestamp),
        "ratio": nullable(float_),
        "total": nullable(decimal),
        "x": nullable(text),
        "events": integer,
    },
)

set_order_placed = rows.upsert("at", "big", "class_value", "day", "id", "items", "n", "note", "paid", "placed_at", "ratio", "total", "x", events="add")
set_order_cancelled = rows.upsert("n", "note", events="add")
set_gone = rows.delete()


@projection("kinds", revision=1, topics=["orders"])
def apply(event: Event) -> None:
    order_id = event.key_text
    if event.is_tombstone:
        set_gone(order_id=order_id)
        return
    it = event.json()
    if not isinstance(it, dict):
        raise Reject("the value is no JSON object")
    if it.get("type") == "order.placed":
        set_order_placed(
            order_id=order_id,
            at=it.get("at"),
            big=it.get("big"),
            class_value=it.get("class"),
            day=it.get("day"),
            id=it.get("id"),
            items=it.get("items"),
            n=it.get("n"),
            note=it.get("note"),
            paid=it.get("paid"),
            placed_at=it.get("placed_at_ms"),
            ratio=None if it.get("ratio") is None else float(it["ratio"]),
            total=it.get("total"),
            x=it.get("é \"x\""),
            events=1,
        )
    elif it.get("type") == "order.cancelled":
        set_order_cancelled(
            order_id=order_id,
            n=it.get("n"),
            note=it.get("note"),
            events=1,
        )
