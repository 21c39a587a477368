DROP INDEX provider_requests_would_refuse;
ALTER TABLE provider_requests DROP COLUMN would_refuse_by;
