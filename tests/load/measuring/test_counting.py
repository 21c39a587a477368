"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import unittest

from . import contender, counting

# As callgrind 3.19 writes it: a name once, then its number; a call's own cost on the line behind it.
PROFILE = """events: Ir
fn=(1) serve
16 10
cob=(2) /lib/libc.so.6
cfn=(2) malloc
calls=3 0
16 300
cfn=(3) realloc
calls=2 0
16 90
cfn=(4) free
calls=5 0
fn=(3)
0 40
cfn=(2)
calls=1 0
0 50
fn=(5) again
cfn=(6) malloc'2
calls=4 0
1 8
totals: 1234
"""


class Reading(unittest.TestCase):
    def test_allocations_are_the_calls_of_what_hands_out_memory_and_nested_ones_count_once(self):
        self.assertEqual(counting.read(PROFILE), {"instructions": 1234, "allocations": 3 + 2 + 4})

    def test_the_names_of_a_static_c_library_are_known(self):
        self.assertTrue(all(map(counting.allocates, ["malloc", "__libc_malloc", "calloc", "malloc@@GLIBC_2.2.5"])))
        self.assertFalse(any(map(counting.allocates, ["free", "_int_malloc", "serve", None])))

    def test_half_a_profile_is_no_count(self):
        with self.assertRaises(contender.Failed):
            counting.read(PROFILE.replace("totals: 1234\n", ""))


if __name__ == "__main__":
    unittest.main()
