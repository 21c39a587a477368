-- Sums by minute, hour and day of the rows of $day (days since 1970).
INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output,
  cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT 60, start, ledger_digest(kind, namespace, workload, route, provider, model, outcome), kind, namespace, workload, route, provider, model, outcome,
  count, 0, took, input, output, cached, 0, 0, 0, 0, 0, cost, 0, 0
FROM (
  SELECT at / 60000 * 60 AS start, 'request' AS kind, namespace, workload, route, provider, model, outcome, count(*) AS count, sum(took) AS took,
    0 AS input, 0 AS output, 0 AS cached, 0 AS cost
  FROM provider_requests WHERE at >= $day::BIGINT * 86400000 AND at < ($day::BIGINT + 1) * 86400000 GROUP BY 1, 3, 4, 5, 6, 7, 8
  UNION ALL
  SELECT at / 60000 * 60, 'attempt', namespace, workload, route, provider, model, outcome, count(*), sum(took), sum(input), sum(output), sum(cached), sum(cost_reported)
  FROM provider_logs WHERE at >= $day::BIGINT * 86400000 AND at < ($day::BIGINT + 1) * 86400000 GROUP BY 1, 3, 4, 5, 6, 7, 8) AS made;

INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded, took, input, output,
  cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown)
SELECT coarse, start - start % coarse, names_digest, kind, namespace, workload, route, provider, model, outcome, sum(count), 0, sum(took), sum(input), sum(output),
  sum(cached), 0, 0, 0, 0, 0, sum(cost_reported), 0, 0
FROM provider_metrics, (VALUES (3600::BIGINT), (86400)) AS coarser (coarse)
WHERE grain = 60 AND start >= $day::BIGINT * 86400 AND start < ($day::BIGINT + 1) * 86400
GROUP BY coarse, 2, names_digest, kind, namespace, workload, route, provider, model, outcome;
