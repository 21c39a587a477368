-- The kept answer that a request got in place of asking anybody: how old it was, milliseconds (NULL: none), which request it answered
-- first, who gave it then, and what was not spent again (picodollars).
ALTER TABLE provider_requests ADD COLUMN cache_age INTEGER;
ALTER TABLE provider_requests ADD COLUMN cache_of TEXT NOT NULL DEFAULT '';
ALTER TABLE provider_requests ADD COLUMN cache_provider TEXT NOT NULL DEFAULT '';
ALTER TABLE provider_requests ADD COLUMN cache_saved_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE provider_requests ADD COLUMN cache_saved_cost INTEGER NOT NULL DEFAULT 0;
-- Which rule turned it away: a kind of a closed list, a colon, the rule's name. Empty: none did.
ALTER TABLE provider_requests ADD COLUMN refused_by TEXT NOT NULL DEFAULT ''
  CHECK (refused_by = '' OR substr(refused_by, 1, instr(refused_by, ':') - 1) IN ('limit', 'access', 'budget', 'guard', 'pause', 'unknown'));
