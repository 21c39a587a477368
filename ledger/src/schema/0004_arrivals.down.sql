DROP INDEX provider_configs_change;
ALTER TABLE provider_configs DROP COLUMN change_id;
DROP INDEX provider_requests_arrived;
ALTER TABLE provider_requests DROP COLUMN arrived;
