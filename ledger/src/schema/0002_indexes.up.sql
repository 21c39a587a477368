-- Each is here for the query that its comment names; a test asks both engines whether that query uses it.
-- `logs` of a namespace, newest first
CREATE INDEX provider_requests_namespace ON provider_requests (namespace, at);
-- `logs --provider`
CREATE INDEX provider_requests_provider ON provider_requests (provider, at);
-- `logs --route`
CREATE INDEX provider_requests_route ON provider_requests (route, at) WHERE route <> '';
-- `logs --failed` over all namespaces, and the view of failed requests
CREATE INDEX provider_requests_failed ON provider_requests (at, outbox, sequence) WHERE outcome NOT IN ('ok', 'cancelled');
-- `logs --failed` of a namespace
CREATE INDEX provider_requests_namespace_failed ON provider_requests (namespace, at) WHERE outcome NOT IN ('ok', 'cancelled');
-- `why`
CREATE INDEX provider_requests_request_id ON provider_requests (request_id);
-- `why` by the trace id that a log line or a span shows
CREATE INDEX provider_requests_trace_id ON provider_requests (trace_id) WHERE trace_id <> '';
-- `why`: the attempts of a request
CREATE INDEX provider_logs_request_id ON provider_logs (request_id);
-- which request an id is of that a provider's support or bill names
CREATE INDEX provider_logs_provider_request_id ON provider_logs (provider_request_id) WHERE provider_request_id <> '';
-- what a provider failed with, by code: `quality`
CREATE INDEX provider_logs_failed ON provider_logs (provider, at) WHERE outcome = 'failed';
-- `stats` and `spend` of a namespace
CREATE INDEX provider_metrics_namespace ON provider_metrics (namespace, grain, start);
-- `stats --provider`, and reconciling a provider's bill
CREATE INDEX provider_metrics_provider ON provider_metrics (provider, grain, start);
-- how much a provider lets through now
CREATE INDEX provider_rate_limits_latest ON provider_rate_limits (namespace, provider, at);
-- the history of an object; the trigger that says when one was replaced
CREATE INDEX provider_configs_object ON provider_configs (namespace, kind, name, at);
-- what has changed since
CREATE INDEX provider_configs_at ON provider_configs (at);
-- which outboxes went silent, and which may be forgotten
CREATE INDEX outboxes_last_seen ON outboxes (last_seen);
