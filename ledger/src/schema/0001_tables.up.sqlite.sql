-- Who sends: a sidecar's outbox, and how far it was taken.
CREATE TABLE outboxes (
  id INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  pod TEXT NOT NULL,
  outbox TEXT NOT NULL,
  service_account TEXT NOT NULL,
  workload TEXT NOT NULL,
  sidecar_version TEXT NOT NULL,
  -- Every sequence up to this one is stored.
  through INTEGER NOT NULL DEFAULT 0 CHECK (through >= 0),
  -- Milliseconds since 1970.
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  UNIQUE (namespace, pod, outbox)
) STRICT;

-- Requests, one row each.
CREATE TABLE provider_requests (
  -- When it ended, milliseconds since 1970.
  at INTEGER NOT NULL,
  outbox INTEGER NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  namespace TEXT NOT NULL,
  workload TEXT NOT NULL,
  request_id TEXT NOT NULL,
  trace_id TEXT NOT NULL,
  route TEXT NOT NULL,
  dialect TEXT NOT NULL CHECK (dialect IN ('', 'openai', 'anthropic', 'gemini', 'openai_responses', 'unknown')),
  operation TEXT NOT NULL,
  asked_model TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  is_stream INTEGER NOT NULL CHECK (is_stream IN (0, 1)),
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  hedges INTEGER NOT NULL CHECK (hedges >= 0),
  sdk_retries INTEGER NOT NULL,
  fields_left_out INTEGER NOT NULL,
  tools_left_out INTEGER NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('ok', 'client_error', 'provider_error', 'own_error', 'shed', 'cancelled', 'cut', 'unknown')),
  code TEXT NOT NULL,
  status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 999),
  -- Microseconds, as all durations.
  took INTEGER NOT NULL CHECK (took >= 0),
  first_token INTEGER CHECK (first_token >= 0),
  overhead INTEGER NOT NULL CHECK (overhead >= 0),
  answer_bytes INTEGER NOT NULL,
  input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  estimated_input INTEGER NOT NULL,
  estimated_output INTEGER NOT NULL,
  -- The turns that led from one candidate to the next, JSON.
  path TEXT NOT NULL,
  turns_left_out INTEGER NOT NULL,
  CONSTRAINT provider_requests_place UNIQUE (at, outbox, sequence)
) STRICT;

-- Attempts at providers, one row each: what was billed.
CREATE TABLE provider_logs (
  at INTEGER NOT NULL,
  outbox INTEGER NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  namespace TEXT NOT NULL,
  workload TEXT NOT NULL,
  request_id TEXT NOT NULL,
  trace_id TEXT NOT NULL,
  route TEXT NOT NULL,
  number INTEGER NOT NULL,
  reason TEXT NOT NULL CHECK (reason IN ('first', 'retry', 'fallback', 'hedge', 'probe', 'unknown')),
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  reported_model TEXT NOT NULL,
  credential TEXT NOT NULL,
  provider_request_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 999),
  outcome TEXT NOT NULL CHECK (outcome IN ('answered', 'failed', 'cancelled', 'unknown')),
  code TEXT NOT NULL,
  took INTEGER NOT NULL CHECK (took >= 0),
  head INTEGER CHECK (head >= 0),
  first_token INTEGER CHECK (first_token >= 0),
  input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  cache_write INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  estimated_input INTEGER NOT NULL,
  estimated_output INTEGER NOT NULL,
  tokens_unknown INTEGER NOT NULL CHECK (tokens_unknown IN (0, 1)),
  -- Picodollars (10^-12 US dollars).
  cost_reported INTEGER NOT NULL,
  cost_estimated INTEGER NOT NULL,
  -- 1: tokens were spent whose price is not known.
  cost_unknown INTEGER NOT NULL CHECK (cost_unknown IN (0, 1)),
  price_version TEXT NOT NULL,
  CONSTRAINT provider_logs_place UNIQUE (at, outbox, sequence)
) STRICT;

-- Sums over a minute (grain 60) and over an hour (grain 3600), of every request and attempt, with and without detail.
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

-- How much a provider let through, as its headers told.
CREATE TABLE provider_rate_limits (
  at INTEGER NOT NULL,
  outbox INTEGER NOT NULL,
  sequence INTEGER NOT NULL CHECK (sequence > 0),
  namespace TEXT NOT NULL,
  provider TEXT NOT NULL,
  credential TEXT NOT NULL,
  what TEXT NOT NULL CHECK (what IN ('requests', 'tokens', 'input_tokens', 'output_tokens', 'unknown')),
  most INTEGER,
  remaining INTEGER,
  -- Until it is whole again, milliseconds.
  reset INTEGER,
  PRIMARY KEY (at, outbox, sequence)
) STRICT;

-- What was applied, by whom and when. Never a key: keys are in Secrets, which nobody here reads.
CREATE TABLE provider_configs (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  namespace TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('ProviderConfig', 'ModelRoute')),
  name TEXT NOT NULL,
  what TEXT NOT NULL CHECK (what IN ('created', 'updated', 'deleted')),
  -- Who asked the API server.
  who TEXT NOT NULL,
  revision TEXT NOT NULL,
  -- When another took its place; set by a trigger.
  replaced_at INTEGER,
  UNIQUE (namespace, kind, name, revision, at)
) STRICT;
