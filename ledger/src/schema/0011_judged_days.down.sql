DROP TABLE judged_days;
