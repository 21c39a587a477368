DELETE FROM provider_metrics WHERE grain = 86400;
ALTER TABLE provider_metrics DROP CONSTRAINT provider_metrics_grain_check;
ALTER TABLE provider_metrics ADD CONSTRAINT provider_metrics_grain_check CHECK (grain IN (60, 3600));
ALTER TABLE provider_metrics RENAME COLUMN names_digest TO names;

-- How many requests of the last seven days succeeded. A caller's own mistake, a limit and a caller that left are no failures.
CREATE OR REPLACE VIEW success_rate_7d AS
SELECT namespace, provider, model, sum(count) AS requests, sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) AS succeeded, sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END) AS failed,
  sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) * 100.0 / NULLIF(sum(CASE WHEN outcome = 'ok' THEN count ELSE 0 END) + sum(CASE WHEN outcome IN ('provider_error', 'own_error', 'cut') THEN count ELSE 0 END), 0) AS percent
FROM provider_metrics
WHERE grain = 3600 AND kind = 'request' AND start >= CAST(extract(epoch FROM now()) AS BIGINT) - 7 * 86400
GROUP BY namespace, provider, model;
