import unittest

import plugin
from laterna.testing import outcome_of


def order(kind, *items):
    value = {"type": kind, "order_id": "o-1", "placed_at_ms": 1, "items": list(items)}
    return outcome_of(plugin.apply, key="o-1", offset=7, value=value)


class OrderSummary(unittest.TestCase):
    def test_an_order_replaces_its_items(self):
        self.assertEqual(order("order.updated", {"sku": "a", "quantity": 3, "unit_price": "12.50"}), {"changes": [
            ("upsert", "orders", {"order_id": "o-1", "customer_id": None, "status": "updated", "item_count": 3, "total": "37.50", "placed_at": 1000, "last_offset": 7}),
            ("delete_prefix", "order_items", {"order_id": "o-1"}),
            ("upsert", "order_items", {"order_id": "o-1", "line": 0, "sku": "a", "quantity": 3, "unit_price": "12.50"}),
        ]})

    def test_a_tombstone_erases_the_order_and_its_items(self):
        erased = [("delete", "orders", {"order_id": "o-1"}), ("delete_prefix", "order_items", {"order_id": "o-1"})]
        self.assertEqual(outcome_of(plugin.apply, key="o-1"), {"changes": erased})

    def test_what_is_no_order_is_rejected_and_what_is_none_of_ours_ignored(self):
        self.assertEqual(order("order.viewed"), {"changes": []})
        wrong = order("order.placed", {"sku": "a", "quantity": 3, "unit_price": "12,50"})
        self.assertIn("items[0].unit_price: a decimal number as text", wrong["reject"])
        self.assertEqual(outcome_of(plugin.apply), {"reject": "the event has no key"})
