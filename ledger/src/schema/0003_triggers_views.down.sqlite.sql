DROP VIEW failed_requests;
DROP VIEW hourly_performance;
DROP VIEW success_rate_7d;
DROP TRIGGER provider_configs_replaces;
DROP TRIGGER outboxes_only_onward;
DROP TRIGGER provider_requests_append_only;
DROP TRIGGER provider_logs_append_only;
