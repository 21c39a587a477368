-- What is in the ledger stays as it was written: rows are added, and dropped with their time.
CREATE TRIGGER provider_logs_append_only BEFORE UPDATE ON provider_logs
BEGIN
  SELECT RAISE(ABORT, 'the ledger is append only: rows of provider_logs are never changed');
END;
CREATE TRIGGER provider_requests_append_only BEFORE UPDATE ON provider_requests
BEGIN
  SELECT RAISE(ABORT, 'the ledger is append only: rows of provider_requests are never changed');
END;

-- Going back would take entries twice.
CREATE TRIGGER outboxes_only_onward BEFORE UPDATE OF through ON outboxes WHEN NEW.through < OLD.through
BEGIN
  SELECT RAISE(ABORT, 'an outbox never goes back');
END;

-- The one before is replaced from now on.
CREATE TRIGGER provider_configs_replaces AFTER INSERT ON provider_configs
BEGIN
  UPDATE provider_configs SET replaced_at = NEW.at
  WHERE namespace = NEW.namespace AND kind = NEW.kind AND name = NEW.name AND id <> NEW.id AND at <= NEW.at AND replaced_at IS NULL;
END;

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

-- Requests that did not get what they asked for, newest last.
CREATE VIEW failed_requests AS
SELECT at, strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000, 'unixepoch') AS ended, namespace, workload, request_id, route, asked_model, provider, model, outcome, code, status, attempts, took
FROM provider_requests
WHERE outcome NOT IN ('ok', 'cancelled');
