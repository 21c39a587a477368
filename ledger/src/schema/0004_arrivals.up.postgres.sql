-- When a request was taken, milliseconds since 1970 of the service's own clock: whoever follows the ledger goes on by it, as a pod that
-- was cut off sends what ended long before. 0: taken before this was noted.
ALTER TABLE provider_requests ADD COLUMN arrived BIGINT NOT NULL DEFAULT 0;
-- `logs --follow`
CREATE INDEX provider_requests_arrived ON provider_requests (arrived, outbox, sequence) WHERE arrived > 0;

-- Which change it was: the object's uid and its generation. It is told until it is taken, and taken once. Empty: not told.
ALTER TABLE provider_configs ADD COLUMN change_id TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX provider_configs_change ON provider_configs (change_id) WHERE change_id <> '';
