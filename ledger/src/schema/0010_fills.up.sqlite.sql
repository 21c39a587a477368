-- Which tables are still filled of rows that were there before their step, in pieces between which batches are taken.
CREATE TABLE fills (
  name TEXT PRIMARY KEY,
  -- When the rows ended that are not looked at yet, as `at` in provider_requests.
  upto INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Step 9 made its table alone. Where it filled it as well, as it did at first, what is there stays.
INSERT INTO fills (name, upto) SELECT 'sampled_requests', at FROM provider_requests ORDER BY at LIMIT 1;
