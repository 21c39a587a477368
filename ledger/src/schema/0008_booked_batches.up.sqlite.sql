-- What batches used that is counted: once in a namespace, whichever of its pods fetched their results.
CREATE TABLE booked_batches (
  namespace TEXT NOT NULL,
  -- Of provider, batch and model, which are too long to be a key.
  names_digest TEXT NOT NULL,
  -- When it was counted, milliseconds since 1970.
  at INTEGER NOT NULL,
  PRIMARY KEY (namespace, names_digest)
) STRICT, WITHOUT ROWID;
-- which are forgotten
CREATE INDEX booked_batches_at ON booked_batches (at);
