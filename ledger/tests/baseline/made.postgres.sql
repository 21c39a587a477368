-- What the filling needs: of each entry its place, its request's number and id; and the digest that sums are known by, as `digest_of` has it.
CREATE OR REPLACE FUNCTION ledger_made(from_batch BIGINT, upto BIGINT, batches BIGINT, first BIGINT, span BIGINT, odd BIGINT)
RETURNS TABLE (at BIGINT, pod BIGINT, sequence BIGINT, number BIGINT, id TEXT) LANGUAGE sql STABLE AS $$
  SELECT at, pod, sequence, number,
    lpad(to_hex(CASE WHEN mixed >= 9223372036854775808 THEN mixed - 18446744073709551616 ELSE mixed END::BIGINT), 16, '0') || '-' || lpad(to_hex(number), 16, '0')
  FROM (
    SELECT first + (span::NUMERIC * batch / batches)::BIGINT + pair * 2 + odd AS at, batch % 50 AS pod, batch / 50 * 1000 + 1 + pair * 2 + odd AS sequence,
      batch * 500 + pair AS number, (batch * 500 + pair) * 11400714819323198485 % 18446744073709551616 AS mixed
    FROM generate_series(from_batch, upto - 1) AS batch, generate_series(0::BIGINT, 499) AS pair) AS placed
$$;

CREATE OR REPLACE FUNCTION ledger_digest(VARIADIC names TEXT[]) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
  SELECT left(encode(sha256(string_agg(decode(lpad(to_hex(octet_length(name)), 2, '0') || '00000000000000', 'hex') || convert_to(name, 'UTF8'), '' ORDER BY place)), 'hex'), 32)
  FROM unnest(names) WITH ORDINALITY AS t (name, place)
$$;
