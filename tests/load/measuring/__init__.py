"""The parts of `tests/load/bench`, which see for what they do together.

table      contenders, setups, scenarios and targets: what is measured. Extend the bench there.
machine    cores, processes, their CPU time and memory
contender  a contender started from its configuration, asked, and stopped
rounds     one round of measuring, and all of them
counting   instructions and allocations of one more request, under callgrind
budget     the most that these may be, in budget.toml
report     medians, ratios, targets, Markdown
"""
