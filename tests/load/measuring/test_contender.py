"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import dataclasses
import unittest

from . import contender, table

PLAIN = next(x for x in table.SCENARIOS if not x.events)
STREAM = next(x for x in table.SCENARIOS if x.events)


class Verify(unittest.TestCase):
    def test_key_order_and_blanks_do_not_matter(self):
        expected = contender.meaning(PLAIN, b'{"a":1,"b":[2]}')
        self.assertIsNone(contender.verify(PLAIN, expected, 200, b'{ "b": [2], "a": 1 }'))

    def test_another_status_or_content_is_wrong(self):
        expected = contender.meaning(PLAIN, b'{"a":1}')
        self.assertIn("status 503", contender.verify(PLAIN, expected, 503, b'{"a":1}'))
        self.assertIn("another answer", contender.verify(PLAIN, expected, 200, b'{"a":2}'))
        self.assertIn("not JSON", contender.verify(PLAIN, expected, 200, b"<html>"))

    def test_a_stream_is_compared_event_by_event(self):
        whole = b'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'
        expected = contender.meaning(STREAM, whole)
        self.assertIsNone(contender.verify(STREAM, expected, 200, b": ping\n\n" + whole))
        self.assertIn("2 events where 3", contender.verify(STREAM, expected, 200, whole[: whole.index(b"data: [DONE]")]))
        self.assertIn("event 1", contender.verify(STREAM, expected, 200, whole.replace(b"2", b"3")))

    def test_a_scenario_may_say_what_of_an_answer_counts(self):
        loose = dataclasses.replace(PLAIN, meaning=lambda body: len(body) > 2)
        self.assertIsNone(contender.verify(loose, True, 200, b"anything"))


if __name__ == "__main__":
    unittest.main()
