DROP TABLE sampled_requests;
