ALTER TABLE provider_requests DROP COLUMN refused_by;
ALTER TABLE provider_requests DROP COLUMN cache_saved_cost;
ALTER TABLE provider_requests DROP COLUMN cache_saved_tokens;
ALTER TABLE provider_requests DROP COLUMN cache_provider;
ALTER TABLE provider_requests DROP COLUMN cache_of;
ALTER TABLE provider_requests DROP COLUMN cache_age;
