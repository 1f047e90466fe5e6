SET TIME ZONE 'UTC';
SET client_min_messages = error;
DROP TABLE IF EXISTS t;
CREATE TABLE t (id bigint, n int, r real, d double precision, s text, flag boolean, day date, at timestamptz, ts timestamp, tm time, u uuid, amount numeric(12,2), bin bytea, tags text[], nums bigint[], js jsonb);
INSERT INTO t VALUES
 (1, 10, 1.5, 1.5, 'Oslo', true, '2024-02-29', '2024-02-29 12:30:15.123456+00', '2024-02-29 12:30:15.123456', '12:30:15.123456', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 12.34, '\x6b6579', '{a,b}', '{1,2,3}', '{"a": 1, "b": {"c": [10, 20, 30]}, "t": true, "s": "x"}'),
 (2, -7, 'NaN', 'NaN', 'Rome', false, '1600-01-01', '1600-01-01 00:00:00+00', '1600-01-01 00:00:00', '00:00:00', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', -0.01, '\x', '{}', '{}', '{"a": null, "s": "quote \" here"}'),
 (3, 2147483647, 0, 0, '', NULL, '9999-12-31', '9999-12-31 23:59:59.999999+00', '9999-12-31 23:59:59.999999', '23:59:59.999999', NULL, 9999999999.99, '\x00ff', '{c}', '{-1}', '[1, 2, {"k": "v"}]'),
 (9223372036854775807, -2147483648, -2.25, 1e300, 'a%b_c', true, '0001-01-01', '0001-01-01 00:00:00+00', '0001-01-01 00:00:00', '06:00:00', 'c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 0.00, '\x5c', '{"d e",f}', '{5,5}', '"text"'),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
