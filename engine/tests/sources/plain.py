"""What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.

Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
raise the revision when the meaning of rows that are already there changes.
"""

from laterna import Event, Reject, Table, decimal, integer, json, nullable, projection, timestamp

rows = Table(
    "plain",
    key={"customer_id": integer},
    columns={
        "at": nullable(timestamp),
        "total": decimal,
        "events": integer,
    },
    partitioning="serial",
)

set_seen = rows.upsert("at", "total", events="add")


@projection("plain", revision=1, topics=["orders"])
def apply(event: Event) -> None:
    if event.is_tombstone:
        return  # it names no row here
    it = event.json()
    if not isinstance(it, dict):
        raise Reject("the value is no JSON object")
    set_seen(
        customer_id=it.get("customer_id"),
        at=it.get("at_ms"),
        total=it.get("total"),
        events=1,
    )
