-- Sums by day beside those by minute and by hour, of what is there as well.
--
-- The digest has another name from here on, so that a service of the release before, which knows no days, cannot add to hours
-- alone beside this one: what it is sent stays with the sidecars until it is gone. It can still answer.
ALTER TABLE provider_metrics RENAME COLUMN names TO names_digest;
ALTER TABLE provider_metrics DROP CONSTRAINT provider_metrics_grain_check;
ALTER TABLE provider_metrics ADD CONSTRAINT provider_metrics_grain_check CHECK (grain IN (60, 3600, 86400));
-- Up to the largest number and never beyond it, as when they are taken.
INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT 86400, start - start % 86400 AS day, names_digest, kind, namespace, workload, route, provider, model, outcome, LEAST(sum(count), 9223372036854775807),
  LEAST(sum(folded), 9223372036854775807),
  LEAST(sum(took), 9223372036854775807),
  LEAST(sum(input), 9223372036854775807),
  LEAST(sum(output), 9223372036854775807),
  LEAST(sum(cached), 9223372036854775807),
  LEAST(sum(cache_write), 9223372036854775807),
  LEAST(sum(reasoning), 9223372036854775807),
  LEAST(sum(estimated_input), 9223372036854775807),
  LEAST(sum(estimated_output), 9223372036854775807),
  LEAST(sum(tokens_unknown), 9223372036854775807),
  LEAST(sum(cost_reported), 9223372036854775807),
  LEAST(sum(cost_estimated), 9223372036854775807),
  LEAST(sum(cost_unknown), 9223372036854775807)
FROM provider_metrics WHERE grain = 3600 GROUP BY day, names_digest, kind, namespace, workload, route, provider, model, outcome;

-- How many requests of the last seven days succeeded: whole days, and the hours before the first of them. A caller's own mistake, a limit and a caller that left are no failures.
CREATE OR REPLACE VIEW success_rate_7d AS
SELECT namespace, provider, model, sum(count) AS requests, sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) AS succeeded, sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END) AS failed,
  sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) * 100.0 / NULLIF(sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) + sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END), 0) AS percent
FROM (
  SELECT namespace, provider, model, outcome, count FROM provider_metrics
  WHERE grain = 86400 AND kind = 'request' AND start >= (CAST(extract(epoch FROM now()) AS BIGINT) - 7 * 86400 + 86399) / 86400 * 86400
  UNION ALL
  SELECT namespace, provider, model, outcome, count FROM provider_metrics
  WHERE grain = 3600 AND kind = 'request' AND start >= CAST(extract(epoch FROM now()) AS BIGINT) - 7 * 86400 AND start < (CAST(extract(epoch FROM now()) AS BIGINT) - 7 * 86400 + 86399) / 86400 * 86400) AS sums
GROUP BY namespace, provider, model;
