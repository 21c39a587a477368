-- What reports tell of a day that is over: made once, of sums and requests that are there as well.
CREATE TABLE judged_days (
  -- When the day begins, seconds since 1970.
  start INTEGER NOT NULL,
  -- What names are told apart by, as a question says it, of `report --sla`; `rules` of `report --access`.
  told_by TEXT NOT NULL,
  -- How many requests the day's sums had then: whole millions, and what is beyond them. Where they have another number now, it is not asked.
  requests_parts INTEGER NOT NULL,
  requests_rest INTEGER NOT NULL,
  -- Minutes by name and the worst hours, or who was turned away, JSON. Empty: not kept, as of more names than an answer has.
  told TEXT NOT NULL,
  PRIMARY KEY (start, told_by)
) STRICT, WITHOUT ROWID;
