-- One of some sixteen requests that succeeded, by when they ended, with what percentiles of a long period are told by and nothing else.
CREATE TABLE sampled_requests (
  -- As in provider_requests, as all that follow.
  at INTEGER NOT NULL,
  outbox INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  namespace TEXT NOT NULL,
  workload TEXT NOT NULL,
  route TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  took INTEGER NOT NULL,
  PRIMARY KEY (at, outbox, sequence)
) STRICT, WITHOUT ROWID;
-- Of those that are there, as `is_sampled` picks them.
INSERT INTO sampled_requests (at, outbox, sequence, namespace, workload, route, provider, model, took)
SELECT at, outbox, sequence, namespace, workload, route, provider, model, took FROM provider_requests
WHERE outcome = 'ok' AND at % 1009 * 37 % 127 % 16 = 0;
