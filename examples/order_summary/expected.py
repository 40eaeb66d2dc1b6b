#!/usr/bin/env python3
"""The rows that events.jsonl must give, told once more, in Python: `./expected.py` writes expected/*.jsonl.

`./expected.py EVENTS OUT` does the same for another file of events, and writes into the folder OUT. Orders are kept whole, with their items inside; nothing here knows of changes, shapes or the engine.
"""
import collections
import datetime
import decimal
import json
import pathlib
import sys

decimal.getcontext().prec = 60
here = pathlib.Path(__file__).parent
source, target = map(pathlib.Path, sys.argv[1:]) if len(sys.argv) > 1 else (here / "events.jsonl", here / "expected")

# After so many days the calendar repeats, 400 years later.
CYCLE_DAYS = 146_097


def instant(millis):
    days, rest = divmod(millis, 86_400_000)
    # Python knows the years 1 to 9999: the same day of the years 1970 to 2369, and the cycles between.
    cycles, days = divmod(days, CYCLE_DAYS)
    then = datetime.datetime(1970, 1, 1) + datetime.timedelta(days=days, milliseconds=rest)
    year = then.year + 400 * cycles
    return f"{year:04}-{then:%m-%dT%H:%M:%S.%f}Z" if 0 <= year <= 9999 else f"{year:+07}-{then:%m-%dT%H:%M:%S.%f}Z"


def plain(number):
    number += 0  # there is no minus zero in a database
    return format(number if number.as_tuple().exponent <= 0 else number.quantize(decimal.Decimal(1)), "f")


orders, offsets = {}, collections.Counter()
for line in source.read_text(encoding="utf-8").split("\n"):
    if not line:
        continue
    event = json.loads(line)
    offset = offsets[event["partition"]]
    offsets[event["partition"]] += 1
    value = event["value"]
    value = json.loads(value) if isinstance(value, str) else value
    if value is None:
        orders.pop(event["key"], None)
    elif value["type"] in ("order.placed", "order.updated"):
        items = [(i["sku"], i["quantity"], decimal.Decimal(i["unit_price"])) for i in value["items"]]
        orders[value["order_id"]] = {
            "customer_id": value.get("customer_id"),
            "status": value["type"].removeprefix("order."),
            "items": items,
            "placed_at": instant(value["placed_at_ms"]),
            "last_offset": offset,
        }
    elif value["type"] == "order.cancelled" and value["order_id"] in orders:
        orders[value["order_id"]].update(status="cancelled", last_offset=offset)

order_rows, item_rows = [], []
for order_id, order in sorted(orders.items()):
    items = order["items"]
    order_rows.append({
        "order_id": order_id,
        "customer_id": order["customer_id"],
        "status": order["status"],
        "item_count": sum(quantity for _, quantity, _ in items),
        "total": plain(sum((quantity * price for _, quantity, price in items), decimal.Decimal(0))),
        "placed_at": order["placed_at"],
        "last_offset": order["last_offset"],
    })
    for line, (sku, quantity, price) in enumerate(items):
        item_rows.append({"order_id": order_id, "line": line, "sku": sku, "quantity": quantity, "unit_price": plain(price)})

target.mkdir(exist_ok=True)
for table, rows in {"orders": order_rows, "order_items": item_rows}.items():
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (target / f"{table}.jsonl").write_text(text, encoding="utf-8")
