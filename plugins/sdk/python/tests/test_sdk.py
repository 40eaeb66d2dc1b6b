"""The SDK on plain Python: what its author declares and raises, against what the contract is given."""

import datetime
import sys
import types
import unittest
import uuid as uuids
from decimal import Inexact
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from laterna import *  # noqa: E402,F403
from laterna import Plugin  # noqa: E402
from laterna.testing import outcome_of  # noqa: E402


def put(type, value):
    """What a column makes of a value: the contract's case and value, or the reject."""
    upsert = Table("t", {"id": text}, {"v": type}).upsert("v")
    plugin = projection("p", topics=["t"])(lambda event: upsert(id="a", v=value))
    from laterna._contract import types

    (outcome,) = plugin.apply(types.Batch("t", 0, [types.Event(0, -1, None, None, [])]))
    if outcome.__class__.__name__ != "Outcome_Changes":
        return outcome.value
    cell = outcome.value[0].values[1]
    return cell.__class__.__name__.removeprefix("Value_"), getattr(cell, "value", None)


def take(model, source):
    """What a model reads of JSON text, or the reject."""
    read = []
    plugin = projection("p", topics=["t"])(lambda event: read.append(event.json(model)))
    outcome = outcome_of(plugin, value=source)
    return outcome["reject"].replace("the value is not the JSON that is read here: ", "") if "reject" in outcome else read[0]


@record
class Line:
    sku: str
    price: Decimal


@record
class Order:
    id: str
    lines: list[Line]
    note: str | None
    count: int | None
    ok: bool | None
    ratio: float | None
    any: Any | None
    tags: list[str] | None
    holes: list[int | None] | None


class Values(unittest.TestCase):
    def test_a_value_goes_as_its_column_is_exactly_or_not_at_all(self):
        utc = datetime.timezone.utc
        for type, value, case, cell in [
            (text, "é☃𝄞", "Text", "é☃𝄞"),
            (integer, 2**63 - 1, "Integer", 2**63 - 1),
            (integer, -(2**63), "Integer", -(2**63)),
            (decimal, "12.50", "Decimal", "12.50"),
            (decimal, Decimal("-0.05"), "Decimal", "-0.05"),
            (decimal, 10**30, "Decimal", "1" + "0" * 30),
            (float_, 0.1, "Float", 0.1),
            (boolean, False, "Boolean", False),
            (bytes_, b"\0\xff", "Bytes", b"\0\xff"),
            (timestamp, 1767225600977, "Timestamp", 1767225600977000),
            (timestamp, Micros(7), "Timestamp", 7),
            (timestamp, datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, utc), "Timestamp", -1),
            (timestamp, "2026-01-31T12:00:00.25+01:00", "Timestamp", 1769857200250000),
            (timestamp, "0001-01-01t00:00:00z", "Timestamp", -62135596800000000),
            (date, -1, "Date", -1),
            (date, datetime.date(1969, 12, 31), "Date", -1),
            (date, "0001-01-01", "Date", -719162),
            (uuid, uuids.UUID(int=7), "Uuid", "00000000-0000-0000-0000-000000000007"),
            (json, {"n": 9007199254740993, "l": [None, True]}, "Json", '{"n":9007199254740993,"l":[null,true]}'),
            (json, RawJson("[1.10]"), "Json", "[1.10]"),
            (nullable(integer), None, "Null", None),
        ]:
            self.assertEqual(put(type, value), (case, cell))

    def test_a_column_may_have_any_name(self):
        names = "type str int float bool bytes day append document finite instant class".split()
        kinds = [text, text, integer, float_, boolean, bytes_, date, decimal, json, decimal, timestamp, text]
        values = ["t", "s", 1, 0.5, True, b"b", "2026-01-31", "1.5", {}, "2", 3, "c"]
        upsert = Table("t", {"id": text}, dict(zip(names, kinds))).upsert(*names)
        arguments = {name + "_" * (name == "class"): value for name, value in zip(names, values)}
        plugin = projection("p", topics=["t"])(lambda event: upsert(id="a", **arguments))
        cells = outcome_of(plugin, value="{}")["changes"][0]
        self.assertEqual(str(cells).count("reject"), 0, cells)

    def test_what_a_column_cannot_hold_rejects_with_column_and_value(self):
        for type, value, reason in [
            (text, 7, "t.v: text of whole characters wanted, not 7"),
            (text, "\ud800", "t.v: text of whole characters wanted, not '\\ud800'"),
            (text, None, "t.v: text of whole characters wanted, not null"),
            (integer, 2**63, "t.v: a whole number of 64 bits wanted, not 9223372036854775808"),
            (integer, True, "t.v: a whole number of 64 bits wanted, not True"),
            (integer, 1.0, "t.v: a whole number of 64 bits wanted, not 1.0"),
            (float_, float("nan"), "t.v: a finite float wanted, not nan"),
            (float_, float("inf"), "t.v: a finite float wanted, not inf"),
            (decimal, 12.5, 't.v: a Decimal, a whole number, or text like "12.50" wanted, not 12.5'),
            (decimal, "1,00", 't.v: a Decimal, a whole number, or text like "12.50" wanted, not \'1,00\''),
            (decimal, Decimal("NaN"), "t.v: a Decimal, a whole number, or text like \"12.50\" wanted, not Decimal('NaN')"),
            (date, 1767225600977, "t.v: a day (days since 1970, a date, or text like 2026-01-31) wanted, not 1767225600977"),
            (json, {1, 2}, "t.v: a JSON value wanted, not {1, 2} (Object of type set is not JSON serializable)"),
        ]:
            self.assertEqual(put(type, value), reason)
        for wrong in ["2026-02-29T00:00:00Z", "2026-01-01", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00", 0.5, datetime.datetime(2026, 1, 1), 2**62]:
            self.assertIn("t.v: an instant", put(timestamp, wrong))

    def test_decimals_are_exact_or_an_error(self):
        self.assertEqual(str(Decimal("0.333") * 5 + Decimal("199.00") + Decimal("12.50") * 2), "225.665")
        with self.assertRaises(Inexact):
            Decimal("9" * 38) + Decimal("0.1")
        plugin = projection("p", topics=["t"])(lambda event: Decimal("9" * 38) * 10 + 1)
        self.assertIn("Inexact", outcome_of(plugin)["reject"])


class Models(unittest.TestCase):
    def test_a_record_has_what_is_read_and_null_for_what_is_left_out(self):
        order = take(Order, '{"id":"a","lines":[{"sku":"x","price":"12.50"},{"sku":"y","price":3}],"other":1,"tags":["t"],"holes":[1,null],"ratio":1}')
        self.assertEqual(order, Order("a", [Line("x", Decimal("12.50")), Line("y", Decimal(3))], None, None, None, 1.0, None, ["t"], [1, None]))
        self.assertEqual(str(order.lines[0].price), "12.50")
        self.assertEqual(take(Order, ' {"id":"a","lines":[],"count":9223372036854775807}\n').count, 2**63 - 1)

    def test_a_model_says_what_is_wrong_and_where(self):
        for source, reason in [
            ("[]", "an object wanted, not a list"),
            ('{"lines":[]}', "id: text wanted, not nothing"),
            ('{"id":7,"lines":[]}', "id: text wanted, not 7"),
            ('{"id":"a","lines":{}}', "lines: a list wanted, not an object"),
            ('{"id":"a","lines":[{"sku":"x","price":"1"},{"sku":"y","price":12.5}]}', 'lines[1].price: a decimal number as text, like "12.50", or a whole one wanted, not 12.5'),
            ('{"id":"a","lines":[{"sku":"x"}]}', "lines[0].price: a decimal number wanted, not nothing"),
            ('{"id":"a","lines":[],"note":1}', "note: text wanted, not 1"),
            ('{"id":"a","lines":[],"count":1.0}', "count: a whole number wanted, not 1.0"),
            ('{"id":"a","lines":[],"count":true}', "count: a whole number wanted, not True"),
            ('{"id":"a","lines":[],"tags":[1]}', "tags[0]: text wanted, not 1"),
            ('{"id":"a","lines":[],"holes":["x"]}', "holes[0]: a whole number wanted, not 'x'"),
        ]:
            self.assertEqual(take(Order, source), reason)
        for wrong in ["", "{", '{"a":NaN}', "[1] x", "[" * 100_000]:
            self.assertIn("the value is not JSON: ", take(None, wrong))

    def test_decimals_are_read_as_they_are_written_elsewhere(self):
        for source, shown in [("0.00", "0.00"), ("+1.5", "1.5"), ("007.10", "7.10"), (".5", "0.5"), ("5.", "5"), ("1" * 38, "1" * 38), ("0." + "0" * 37 + "1", "0." + "0" * 37 + "1")]:
            self.assertEqual(format(take(Line, '{"sku":"x","price":"%s"}' % source).price, "f"), shown)
        for wrong in ["", "-", ".", "1,00", "--1", "1e", "NaN", "Infinity", "0x10", " 1", "1_000", "1e39", "1e-39", "٣", "1" * 39]:
            self.assertIn("price: a decimal number", take(Line, '{"sku":"x","price":"%s"}' % wrong))

    def test_a_tag_chooses_the_record(self):
        kinds = tagged("type", {"line": Line})
        self.assertEqual(take(kinds, '{"type":"line","sku":"x","price":1}'), ("line", Line("x", Decimal(1))))
        self.assertEqual(take(kinds, '{"type":"other"}'), ("other", None))
        self.assertEqual(take(kinds, '{"type":5}'), "type: text wanted, not 5")
        self.assertEqual(take(kinds, "{}"), "type: text wanted, not nothing")
        self.assertEqual(take(kinds, "null"), "an object wanted, not null")

    def test_what_cannot_be_read_of_json_is_refused_when_it_is_declared(self):
        with self.assertRaisesRegex(TypeError, "a: <class 'bytes'> cannot be read of JSON"):
            record(type("X", (), {"__annotations__": {"a": bytes}}))


class Projections(unittest.TestCase):
    def test_keys_values_and_headers_as_text_and_as_bytes(self):
        seen = []
        plugin = projection("p", topics=[Topic("t", headers=["h"]), Topic("b", binary_key=True, binary_value=True)])(
            lambda e: seen.append((e.key, e.bytes, e.header("h"), e.header_text("h"), e.timestamp, e.offset, e.is_tombstone)))
        outcome_of(plugin, key="é", value=b"\xff", headers={"h": "x", "other": "y"}, offset=9)
        outcome_of(plugin, topic="b", timestamp=5)
        self.assertEqual(seen, [("é".encode(), b"\xff", b"x", "x", None, 9, False), (None, None, None, None, 5, 0, True)])
        texts = projection("p", topics=[Topic("b", binary_key=True, binary_value=True)])(lambda e: seen.append((e.key_text, e.text)))
        outcome_of(texts, key="a☃", value="☃")
        self.assertEqual(seen[-1], ("a☃", "☃"))
        self.assertEqual(outcome_of(texts), {"reject": "the event has no key"})
        self.assertEqual(outcome_of(texts, key=b"\xff"), {"reject": "the key is not UTF-8 text (1 bytes)"})

    def test_faults_have_their_reason_and_a_bug_ends_the_call(self):
        def raising(error):
            def apply(event):
                raise error
            return projection("p", topics=["t"])(apply)

        self.assertEqual(outcome_of(raising(Reject("no"))), {"reject": "no"})
        self.assertEqual(outcome_of(raising(Halt("stop"))), {"halt": "stop"})
        with self.assertRaises(KeyError):
            outcome_of(raising(KeyError("bug")))

    def test_of_a_rejected_event_nothing_is_left(self):
        add = Table("t", {"id": text}).upsert()

        @projection("p", topics=["t"])
        def apply(event):
            add(id=event.key_text)
            if event.offset == 1:
                raise Reject("no")

        self.assertIsInstance(apply, Plugin)
        self.assertEqual(outcome_of(apply, key="a", offset=1), {"reject": "no"})
        self.assertEqual(outcome_of(apply, key="a"), {"changes": [("upsert", "t", {"id": "a"})]})

    def test_every_action_is_called_by_its_columns(self):
        rows = Table("rows", {"a": text, "b": integer}, {"c": nullable(decimal), "d": timestamp}, indexes=[("c",), {"full_text": ("a",)}], partitioning="serial")
        actions = [rows.upsert("c", d="max"), rows.update(c="add"), rows.insert("d"), rows.delete(), rows.delete_prefix("a")]

        @projection("p", topics=["t"], revision=3)
        def apply(event):
            actions[0](a="x", b=1, d=0)
            actions[1](a="x", b=1, c=5)
            actions[2](a="x", b=1, d=0)
            actions[3](a="x", b=1)
            actions[4](a="x")

        self.assertEqual(outcome_of(apply)["changes"], [
            ("upsert", "rows", {"a": "x", "b": 1, "c": None, "d": 0}), ("update", "rows", {"a": "x", "b": 1, "c": "5"}),
            ("insert", "rows", {"a": "x", "b": 1, "d": 0}), ("delete", "rows", {"a": "x", "b": 1}), ("delete_prefix", "rows", {"a": "x"})])
        self.assertEqual(apply.describe().revision, 3)
        with self.assertRaisesRegex(TypeError, "unexpected keyword argument 'e'"):
            actions[3](a="x", b=1, e=2)

    def test_a_declaration_that_cannot_be_meant_is_refused_at_once(self):
        rows = Table("rows", {"a": text, "b": text}, {"c": integer, "d": nullable(integer)})
        for wrong, message in [
            (lambda: rows.upsert("c", "x"), "table rows: there is no column x; there are a, b, c, d"),
            (lambda: rows.upsert("d"), "table rows: upsert makes rows, and names no value for c, which take no null"),
            (lambda: rows.upsert("c", d="plus"), "table rows: d: no operation plus; there are set, add, max, min, set_if_null, newer"),
            (lambda: rows.update("a"), "table rows: a is in the key, and a change sets columns outside it"),
            (lambda: rows.delete_prefix("b"), "table rows: delete_prefix names the first columns of the key: a, b"),
            (lambda: Table("x", {"a": nullable(text)}), "table x: a is in the key and cannot be nullable"),
            (lambda: Table("x", {"a": str}), "table x: a has no type of a column"),
            (lambda: Table("x", {"a": text}, indexes=[("b",)]), "table x: there is no column b; there are a"),
        ]:
            with self.assertRaises(TypeError) as caught:
                wrong()
            self.assertEqual(str(caught.exception), message)


class Readme(unittest.TestCase):
    def test_the_projection_of_the_readme_counts_an_order(self):
        text = (Path(__file__).resolve().parent.parent / "README.md").read_text()
        # A module of its own: a record's annotations are looked up there.
        module = types.ModuleType("readme")
        sys.modules["readme"] = module
        exec(text.split("```python\n")[1].split("```")[0], module.__dict__)
        value = {"type": "order.placed", "customer_id": "c", "placed_at_ms": 1, "total": "2.50"}
        row = {"customer_id": "c", "orders": 1, "spent": "2.50", "last_order_at": 1000}
        self.assertEqual(outcome_of(module.apply, value=value), {"changes": [("upsert", "customers", row)]})
        self.assertEqual(outcome_of(module.apply), {"changes": []})


class Envelopes(unittest.TestCase):
    def test_a_cloudevent_and_a_change_are_records_like_others(self):
        paid = cloud_event(Line)
        event = take(paid, '{"specversion":"1.0","id":"7","source":"/shop","type":"paid","time":"2026-01-31T12:00:00Z","data":{"sku":"s","price":"1.50"}}')
        self.assertEqual((event.type, event.source, event.id, event.subject, event.data.price), ("paid", "/shop", "7", None, Decimal("1.50")))
        self.assertEqual(put(timestamp, event.time), ("Timestamp", 1769860800000000))
        self.assertIn("type", take(paid, '{"id":"7","source":"s"}'))
        self.assertEqual(take(cloud_event(), '{"id":"7","source":"s","type":"t","data":[1]}').data, [1])
        change = take(row_change(Line), '{"op":"d","before":{"sku":"s","price":1},"after":null,"source":{"ts_ms":5,"lsn":7}}')
        self.assertEqual((change.op, change.before.sku, change.after, change.source.ts_ms), ("d", "s", None, 5))
        self.assertIn("op", take(row_change(Line), '{"after":null}'))
        self.assertIn("after.sku", take(row_change(Line), '{"op":"u","after":{"sku":1,"price":1}}'))


if __name__ == "__main__":
    unittest.main()
