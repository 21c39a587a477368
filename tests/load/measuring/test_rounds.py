"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import unittest
from unittest import mock

from . import machine, rounds, table


def setup(name):
    return next(setup for setup in table.SETUPS if setup.name == name)


class Rounds(unittest.TestCase):
    def test_who_cannot_translate_takes_no_part_in_a_translated_pair(self):
        names = ["direct", "nginx", "haproxy", "sidecar"]
        self.assertEqual(rounds.taking_part(names, setup("openai")), names)
        self.assertEqual(rounds.taking_part(names, setup("tls")), ["nginx", "sidecar"])
        self.assertEqual(rounds.taking_part(names, setup("openai-gemini")), ["sidecar"])
        self.assertEqual(rounds.taking_part(["direct", "nginx"], setup("openai-gemini")), [])

    def test_what_needs_more_open_files_than_are_allowed_is_left_out_with_what_to_do(self):
        with mock.patch.object(machine, "open_files", return_value=4096):
            self.assertRegex(rounds.left_out(setup("idle")), "4096 allowed.*ulimit")
            self.assertIsNone(rounds.left_out(setup("openai")))
        with mock.patch.object(machine, "open_files", return_value=table.OPEN_FILES):
            self.assertIsNone(rounds.left_out(setup("idle")))


if __name__ == "__main__":
    unittest.main()
