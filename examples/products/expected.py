#!/usr/bin/env python3
"""The rows that events.jsonl must give, told once more, in Python: `./expected.py` writes expected/*.jsonl."""
import datetime
import decimal
import json
import pathlib

here = pathlib.Path(__file__).parent


def instant(millis):
    then = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=millis)
    return f"{then.year:04}-{then:%m-%dT%H:%M:%S.%f}Z"


def plain(text):
    number = decimal.Decimal(text)
    return format(number if number.as_tuple().exponent <= 0 else number.quantize(decimal.Decimal(1)), "f")


def fields(event, row):
    """What an event says of its product; none where it says nothing."""
    at = instant(event["at_ms"]) if "at_ms" in event else None
    if event["type"] in ("product.created", "product.updated"):
        return {
            "name": event["name"],
            "category": event.get("category"),
            "price": plain(event["price"]),
            "status": event.get("status") or "active",
            "attributes": event.get("attributes"),
            "updated_at": at,
            "deleted_at": None,
        }
    if event["type"] == "product.status.changed" and row is not None:
        return {"status": event["status"], "updated_at": at}
    if event["type"] == "product.deleted":
        return {"status": "deleted", "updated_at": at, "deleted_at": at}
    return None


products = {}
for line in (here / "events.jsonl").read_text().split("\n"):
    if not line:
        continue
    record = json.loads(line)
    event = record["value"]
    event = json.loads(event) if isinstance(event, str) else event
    if event is None:
        products.pop(record["key"], None)
        continue
    row = products.get(event.get("sku"))
    said = fields(event, row)
    if said is None or (row is not None and event["version"] <= row["version"]):
        continue
    row = row or dict.fromkeys(("name", "category", "price", "status", "attributes"), None) | {
        "version": None, "changes": 0, "updated_at": None, "deleted_at": None}
    row |= said | {"version": event["version"], "changes": row["changes"] + 1}
    products[event["sku"]] = row

rows = [{"sku": sku} | row for sku, row in sorted(products.items())]
(here / "expected").mkdir(exist_ok=True)
(here / "expected" / "products.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
