import sys
import unittest

sys.path.insert(0, "sdk")
import plugin  # noqa: E402
from laterna.testing import outcome_of  # noqa: E402


class Test(unittest.TestCase):
    def test_an_event_is_counted_and_its_value_kept(self):
        self.assertEqual(outcome_of(plugin.apply, key="a", offset=7, value={"id": 1}), {"changes": [
            ("upsert", "counts", {"key": "a", "events": 1}), ("upsert", "records", {"key": "a", "value": '{"id":1}', "last_offset": 7})]})

    def test_a_value_that_is_no_json_object_is_rejected(self):
        self.assertEqual(outcome_of(plugin.apply, key="a", value="[1]"), {"reject": "the value is no JSON object"})
