-- Rows of the batches $from to $upto (not included) of $batches that lie over $span milliseconds from $first on: the same that `arrival` makes
-- and a service takes, made by the server itself. $name is put in by the program. Sums and outboxes have files of their own.
INSERT INTO provider_logs (at, outbox, sequence, namespace, workload, request_id, trace_id, route, number, reason, provider, model, reported_model,
  credential, provider_request_id, operation, status, outcome, code, took, head, first_token, input, output, cached, cache_write, reasoning,
  estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated, cost_unknown, price_version)
SELECT at, pod + 1, sequence, 'team-' || pod % 20, 'Deployment/app-' || pod % 40, id, lpad(to_hex(number), 32, '0'), 'route-' || number % 5, 1, 'first',
  'provider-' || number % 10, 'model-' || number % 10 || '-' || number % 3, 'model-' || number % 10 || '-' || number % 3, 'main', 'msg_' || id, 'chat_completions',
  CASE WHEN number % 100 < 2 THEN 529 ELSE 200 END, CASE WHEN number % 100 < 2 THEN 'failed' ELSE 'answered' END,
  CASE WHEN number % 100 < 2 THEN 'EXT_OVERLOADED' ELSE '' END, 1400000, 300000, 400000, 500 + number % 1000, 100 + number % 300, number % 200, 0, 0,
  0, 0, 0, 4500000000, 0, 0, 'table:2026-11-01'
FROM ledger_made($from, $upto, $batches, $first, $span, 0);

INSERT INTO provider_requests (at, outbox, sequence, namespace, workload, request_id, trace_id, route, dialect, operation, asked_model, provider, model,
  is_stream, attempts, hedges, sdk_retries, fields_left_out, tools_left_out, outcome, code, status, took, first_token, overhead, answer_bytes,
  input, output, cached, cache_write, reasoning, estimated_input, estimated_output, path, turns_left_out, arrived, refused_by, would_refuse_by)
SELECT at, pod + 1, sequence, 'team-' || pod % 20, 'Deployment/app-' || pod % 40, id, lpad(to_hex(number), 32, '0'), 'route-' || number % 5, 'openai',
  'chat_completions', 'chat', 'provider-' || number % 10, 'model-' || number % 10 || '-' || number % 3, 1, 1, 0, 0, 0, 0, outcome,
  CASE outcome WHEN 'ok' THEN '' ELSE 'EXT_OVERLOADED' END, 200, took, 400000, 250, 4000, 500 + number % 1000, 100 + number % 300, number % 200, 0, 0, 0, 0,
  CASE outcome WHEN 'ok' THEN '[]' ELSE '[{"provider":"provider-1","what":"failed"}]' END, 0, at,
  CASE outcome WHEN 'shed' THEN 'limit:team-' || number % 7 ELSE '' END, CASE number % 100 WHEN 50 THEN 'guard:cards' ELSE '' END
FROM (
  SELECT *, CASE number % 100 WHEN 0 THEN 'provider_error' WHEN 1 THEN 'provider_error' WHEN 2 THEN 'shed' WHEN 3 THEN 'cancelled' WHEN 4 THEN 'client_error' ELSE 'ok' END AS outcome,
    (250000::BIGINT << (number % 7)::INT) + number % (250000::BIGINT << (number % 7)::INT) AS took
  FROM ledger_made($from, $upto, $batches, $first, $span, 1)) AS made;
