DROP TABLE provider_configs;
DROP TABLE provider_rate_limits;
DROP TABLE provider_metrics;
DROP TABLE provider_logs;
DROP TABLE provider_requests;
DROP TABLE outboxes;
