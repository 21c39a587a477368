DROP TABLE booked_batches;
