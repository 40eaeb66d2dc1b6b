"""What the topic `orders` says: one row an event, the last value of each field, and how many events there were.

Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
raise the revision when the meaning of rows that are already there changes.
"""

from laterna import Event, Reject, Table, integer, json, projection, text

rows = Table(
    "keyless",
    key={"partition_number": integer, "event_offset": integer},
    columns={
        "level": text,
        "text": text,
        "events": integer,
    },
)

set_seen = rows.upsert("level", "text", events="add")


@projection("keyless", revision=1, topics=["orders"])
def apply(event: Event) -> None:
    if event.is_tombstone:
        return  # it names no row here
    it = event.json()
    if not isinstance(it, dict):
        raise Reject("the value is no JSON object")
    set_seen(
        partition_number=event.partition,
        event_offset=event.offset,
        level=it.get("level"),
        text=it.get("text"),
        events=1,
    )
