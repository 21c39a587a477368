-- Sums by day beside those by minute and by hour, of what is there as well.
--
-- The digest has another name from here on, so that a service of the release before, which knows no days, cannot add to hours
-- alone beside this one: what it is sent stays with the sidecars until it is gone. It can still answer.
DROP VIEW success_rate_7d;
DROP VIEW hourly_performance;
-- A CHECK cannot be changed in place.
ALTER TABLE provider_metrics RENAME TO provider_metrics_before;
CREATE TABLE provider_metrics (
  grain INTEGER NOT NULL CHECK (grain IN (60, 3600, 86400)),
  -- When it begins, seconds since 1970.
  start INTEGER NOT NULL,
  -- A digest of the names that follow, which are too long to be a key.
  names_digest TEXT NOT NULL,
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
  PRIMARY KEY (grain, start, names_digest)
) STRICT, WITHOUT ROWID;
INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT grain, start, names, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown FROM provider_metrics_before;
-- Up to the largest number and never beyond it, as when they are taken.
INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT 86400, start - start % 86400, names, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown FROM provider_metrics_before WHERE grain = 3600
ON CONFLICT (grain, start, names_digest) DO UPDATE SET
  count = CASE WHEN provider_metrics.count > 9223372036854775807 - excluded.count THEN 9223372036854775807 ELSE provider_metrics.count + excluded.count END,
  folded = CASE WHEN provider_metrics.folded > 9223372036854775807 - excluded.folded THEN 9223372036854775807 ELSE provider_metrics.folded + excluded.folded END,
  took = CASE WHEN provider_metrics.took > 9223372036854775807 - excluded.took THEN 9223372036854775807 ELSE provider_metrics.took + excluded.took END,
  input = CASE WHEN provider_metrics.input > 9223372036854775807 - excluded.input THEN 9223372036854775807 ELSE provider_metrics.input + excluded.input END,
  output = CASE WHEN provider_metrics.output > 9223372036854775807 - excluded.output THEN 9223372036854775807 ELSE provider_metrics.output + excluded.output END,
  cached = CASE WHEN provider_metrics.cached > 9223372036854775807 - excluded.cached THEN 9223372036854775807 ELSE provider_metrics.cached + excluded.cached END,
  cache_write = CASE WHEN provider_metrics.cache_write > 9223372036854775807 - excluded.cache_write THEN 9223372036854775807 ELSE provider_metrics.cache_write + excluded.cache_write END,
  reasoning = CASE WHEN provider_metrics.reasoning > 9223372036854775807 - excluded.reasoning THEN 9223372036854775807 ELSE provider_metrics.reasoning + excluded.reasoning END,
  estimated_input = CASE WHEN provider_metrics.estimated_input > 9223372036854775807 - excluded.estimated_input THEN 9223372036854775807 ELSE provider_metrics.estimated_input + excluded.estimated_input END,
  estimated_output = CASE WHEN provider_metrics.estimated_output > 9223372036854775807 - excluded.estimated_output THEN 9223372036854775807 ELSE provider_metrics.estimated_output + excluded.estimated_output END,
  tokens_unknown = CASE WHEN provider_metrics.tokens_unknown > 9223372036854775807 - excluded.tokens_unknown THEN 9223372036854775807 ELSE provider_metrics.tokens_unknown + excluded.tokens_unknown END,
  cost_reported = CASE WHEN provider_metrics.cost_reported > 9223372036854775807 - excluded.cost_reported THEN 9223372036854775807 ELSE provider_metrics.cost_reported + excluded.cost_reported END,
  cost_estimated = CASE WHEN provider_metrics.cost_estimated > 9223372036854775807 - excluded.cost_estimated THEN 9223372036854775807 ELSE provider_metrics.cost_estimated + excluded.cost_estimated END,
  cost_unknown = CASE WHEN provider_metrics.cost_unknown > 9223372036854775807 - excluded.cost_unknown THEN 9223372036854775807 ELSE provider_metrics.cost_unknown + excluded.cost_unknown END;
DROP TABLE provider_metrics_before;
-- `stats` and `spend` of a namespace
CREATE INDEX provider_metrics_namespace ON provider_metrics (namespace, grain, start);
-- `stats --provider`, and reconciling a provider's bill
CREATE INDEX provider_metrics_provider ON provider_metrics (provider, grain, start);

-- How many requests of the last seven days succeeded: whole days, and the hours before the first of them. A caller's own mistake, a limit and a caller that left are no failures.
CREATE VIEW success_rate_7d AS
SELECT namespace, provider, model, sum(count) AS requests, sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) AS succeeded, sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END) AS failed,
  sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) * 100.0 / NULLIF(sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) + sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END), 0) AS percent
FROM (
  SELECT namespace, provider, model, outcome, count FROM provider_metrics
  WHERE grain = 86400 AND kind = 'request' AND start >= (unixepoch() - 7 * 86400 + 86399) / 86400 * 86400
  UNION ALL
  SELECT namespace, provider, model, outcome, count FROM provider_metrics
  WHERE grain = 3600 AND kind = 'request' AND start >= unixepoch() - 7 * 86400 AND start < (unixepoch() - 7 * 86400 + 86399) / 86400 * 86400) AS sums
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
