DROP VIEW success_rate_7d;
DROP VIEW hourly_performance;
ALTER TABLE provider_metrics RENAME TO provider_metrics_before;
CREATE TABLE provider_metrics (
  grain INTEGER NOT NULL CHECK (grain IN (60, 3600)),
  -- When it begins, seconds since 1970.
  start INTEGER NOT NULL,
  -- A digest of the names that follow, which are too long to be a key.
  names TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('request', 'attempt')),
  namespace TEXT NOT NULL,
  workload TEXT NOT NULL,
  route TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'client_error', 'provider_error', 'own_error', 'shed', 'cancelled', 'cut', 'answered', 'failed', 'unknown')),
  count INTEGER NOT NULL CHECK (count >= 0),
  -- Of these: told by a sum alone, with no row of their own.
  folded INTEGER NOT NULL CHECK (folded >= 0),
  took INTEGER NOT NULL,
  input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  estimated_input INTEGER NOT NULL,
  estimated_output INTEGER NOT NULL,
  tokens_unknown INTEGER NOT NULL,
  cost_reported INTEGER NOT NULL,
  cost_estimated INTEGER NOT NULL,
  cost_unknown INTEGER NOT NULL,
  PRIMARY KEY (grain, start, names)
) STRICT, WITHOUT ROWID;
INSERT INTO provider_metrics (grain, start, names, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown FROM provider_metrics_before WHERE grain <> 86400;
DROP TABLE provider_metrics_before;
-- `stats` and `spend` of a namespace
CREATE INDEX provider_metrics_namespace ON provider_metrics (namespace, grain, start);
-- `stats --provider`, and reconciling a provider's bill
CREATE INDEX provider_metrics_provider ON provider_metrics (provider, grain, start);

-- How many requests of the last seven days succeeded. A caller's own mistake, a limit and a caller that left are no failures.
CREATE VIEW success_rate_7d AS
SELECT namespace, provider, model, sum(count) AS requests, sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) AS succeeded, sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END) AS failed,
  sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) * 100.0 / NULLIF(sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) + sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END), 0) AS percent
FROM provider_metrics
WHERE grain = 3600 AND kind = 'request' AND start >= unixepoch() - 7 * 86400
GROUP BY namespace, provider, model;

-- Attempts by hour: how many, how long, how many tokens.
CREATE VIEW hourly_performance AS
SELECT start, strftime('%Y-%m-%dT%H:00:00Z', start, 'unixepoch') AS hour, provider, model, sum(count) AS attempts,
  sum(CASE WHEN outcome = 'failed' THEN count ELSE 0 END) AS failed,
  sum(took) / 1000.0 / NULLIF(sum(count), 0) AS mean_ms, sum(input) AS input, sum(output) AS output,
  sum(estimated_input + estimated_output) AS estimated
FROM provider_metrics
WHERE grain = 3600 AND kind = 'attempt'
GROUP BY start, provider, model;
