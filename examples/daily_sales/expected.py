#!/usr/bin/env python3
"""The rows that events.jsonl must give, told once more, in Python: `./expected.py` writes expected/*.jsonl."""
import datetime
import decimal
import json
import pathlib

decimal.getcontext().prec = 60
here = pathlib.Path(__file__).parent


def plain(number):
    return format(number if number.as_tuple().exponent <= 0 else number.quantize(decimal.Decimal(1)), "f")


# A list of everything sold, summed up at the end.
sold = []
for line in (here / "events.jsonl").read_text().split("\n"):
    value = json.loads(line)["value"] if line else None
    value = json.loads(value) if isinstance(value, str) else value
    if value is not None and value["type"] == "order.placed":
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days=value["placed_at_ms"] // 86_400_000)
        day = f"{day.year:04}-{day:%m-%d}"
        sold += [((day, i["sku"]), i["quantity"], decimal.Decimal(i["unit_price"])) for i in value["items"]]

rows = []
for day, sku in sorted({key for key, _, _ in sold}):
    lines = [(quantity, price) for key, quantity, price in sold if key == (day, sku)]
    rows.append({
        "day": day,
        "sku": sku,
        "quantity": sum(quantity for quantity, _ in lines),
        "revenue": plain(sum((quantity * price for quantity, price in lines), decimal.Decimal(0))),
        "order_lines": len(lines),
    })

(here / "expected").mkdir(exist_ok=True)
(here / "expected" / "daily_sales.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
