"""The last value of each key of {{topic}}, and how many events each key has had."""

from laterna import Event, Reject, Table, integer, json, projection, text

records = Table("records", key={"key": text}, columns={"value": json, "last_offset": integer})
counts = Table("counts", key={"key": text}, columns={"events": integer})

record = records.upsert("value", last_offset="max")
record_erased = records.delete()
counted = counts.upsert(events="add")


@projection("{{name}}", revision=1, topics=["{{topic}}"])
def apply(event: Event) -> None:
    key = event.key_text
    counted(key=key, events=1)
    if event.is_tombstone:
        record_erased(key=key)
        return
    value = event.json()
    if not isinstance(value, dict):
        raise Reject("the value is no JSON object")
    record(key=key, value=value, last_offset=event.offset)
