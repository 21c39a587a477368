-- Which rule in shadow would have turned it away, in the form of refused_by. Empty: none would.
ALTER TABLE provider_requests ADD COLUMN would_refuse_by TEXT NOT NULL DEFAULT ''
  CHECK (would_refuse_by = '' OR substr(would_refuse_by, 1, instr(would_refuse_by, ':') - 1) IN ('limit', 'access', 'budget', 'guard', 'pause', 'unknown'));
-- `report --access`: what rules in shadow would have turned away, which is little of what ended well
CREATE INDEX provider_requests_would_refuse ON provider_requests (at) WHERE would_refuse_by <> '';
