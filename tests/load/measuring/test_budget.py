"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import pathlib
import tempfile
import unittest

from . import budget

BUDGET = {"plain": {"instructions": 90_000, "allocations": 34.0}, "chunk": {"instructions": 12_000, "allocations": 0.0}}


def compare(**plain):
    return budget.compare(BUDGET | {"plain": BUDGET["plain"] | plain}, BUDGET)


class Budget(unittest.TestCase):
    def test_a_rise_above_the_tolerance_fails_with_the_figure_and_the_budget(self):
        self.assertEqual(compare(instructions=91_700)[1], [])
        lines, faults = compare(instructions=91_900)
        self.assertEqual(faults, ["plain: 91,900 instructions, where the budget is 90,000 (+2.1%)"])
        self.assertIn("ABOVE THE BUDGET", lines[0])

    def test_one_allocation_more_fails_and_what_is_allocated_once_in_many_requests_does_not(self):
        self.assertEqual(len(compare(allocations=35.0)[1]), 1)
        self.assertEqual(compare(allocations=34.05)[1], [])
        rare, one = ({"plain": BUDGET["plain"], "chunk": BUDGET["chunk"] | {"allocations": of}} for of in (0.05, 1.0))
        self.assertEqual(budget.compare(rare, BUDGET)[1], [])
        self.assertEqual(len(budget.compare(one, BUDGET)[1]), 1)

    def test_a_fall_passes_and_asks_for_the_new_budget(self):
        lines, faults = compare(allocations=16.0)
        self.assertEqual(faults, [])
        self.assertTrue(lines[1].endswith("lower: commit the new budget"), lines)

    def test_what_is_not_counted_any_more_and_what_has_no_budget_fail(self):
        self.assertEqual(len(budget.compare({"plain": BUDGET["plain"]}, BUDGET)[1]), 2)
        self.assertEqual(len(budget.compare(BUDGET, {"plain": BUDGET["plain"]})[1]), 2)

    def test_what_is_written_is_read_again_and_other_machines_keep_theirs(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "budget.toml"
            file.write_text('[other."plain"]\ninstructions = 1\nallocations = 2.0\n')
            self.assertIsNone(budget.load(file))
            budget.write(file, BUDGET)
            self.assertEqual(budget.load(file), BUDGET)
            self.assertIn('[other."plain"]', file.read_text())


if __name__ == "__main__":
    unittest.main()
