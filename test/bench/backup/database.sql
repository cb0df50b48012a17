-- A database as a web app has one: text with the frequencies of words that language has, JSON, numbers, times.
-- The same for the same :units on each run: what looks random is a hash of the row's number. 1 unit is about 10 MB.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SET jit = off;

CREATE FUNCTION dice(i bigint, salt bigint, sides bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (hashint8extended(i, salt) & 9223372036854775807) % sides;
CREATE FUNCTION share(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN dice(i, salt, 1000000007) / 1000000007.0;

-- 6,000 words; the first of them are by far the most frequent: Zipf's law with its exponent of 1.
CREATE TEMP TABLE words AS
SELECT n, coalesce(common, s1 || s2 || s3) AS word
FROM generate_series(0, 5999) n
LEFT JOIN unnest(string_to_array(
  'the of and to in a is that for it as was with be by on not he his but at are this have from or had an they '
  'which one you were her all she there would their we him been has when who will more no if out so said what up '
  'its about into than them can only other new some could time these two may then do first any my now such like '
  'our over man me even most made after also did many before must through back years where much your way well '
  'down should because each just those people how too little state good very make world still own see men work '
  'long get here between both life being under never day same another know while last might us great old year '
  'off come since against go came right used take three', ' ')) WITH ORDINALITY c(common, at) ON at = n + 1,
LATERAL (SELECT
  (string_to_array('ka be con dis el for gra hin il jo la mar ne or per qua re sta tri un ve wi ex y', ' '))[1 + dice(n, 1, 24)] s1,
  (string_to_array('ren tal vi so mu ca der lin pos ti ga no fer san bel cri do pha', ' '))[1 + dice(n, 2, 18)] s2,
  (string_to_array('tion ing ed er ly ness s al ment ive ous able ic est y', ' '))[1 + dice(n, 3, 15)] s3) syllables;

-- 30,000 passages of about 200 characters: far more than any compressor used here can look back on.
CREATE TEMP TABLE passages AS
SELECT p AS n, upper(left(text, 1)) || substr(text, 2) || '. ' AS text
FROM (SELECT p, string_agg(word, ' ' ORDER BY k) AS text
  FROM generate_series(0, 29999) p, generate_series(1, 38) k
  JOIN words ON true
  WHERE words.n = floor(power(6000, share(p * 64 + k, 4)))::int - 1
  GROUP BY p) drawn;
CREATE UNIQUE INDEX ON passages (n);
ANALYZE words, passages;

CREATE TABLE accounts (
  id bigint NOT NULL, email text NOT NULL, name text NOT NULL, created_at timestamptz NOT NULL, settings jsonb NOT NULL);
CREATE TABLE entries (
  id bigint NOT NULL, account_id bigint NOT NULL, title text NOT NULL, body text NOT NULL, tags text[] NOT NULL,
  score numeric(8, 2) NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE events (
  id bigint NOT NULL, account_id bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, payload jsonb NOT NULL);
CREATE TABLE measurements (
  id bigint NOT NULL, sensor integer NOT NULL, at timestamptz NOT NULL, value double precision NOT NULL,
  quality smallint NOT NULL);

INSERT INTO accounts
SELECT i, w1.word || '.' || w2.word || i || '@example.org', initcap(w1.word || ' ' || w2.word),
  timestamptz '2021-01-01 UTC' + make_interval(secs => i * 631),
  jsonb_build_object('theme', (ARRAY['light', 'dark', 'system'])[1 + dice(i, 12, 3)], 'locale', 'en',
    'notifications', jsonb_build_object('mail', dice(i, 13, 2) = 1, 'push', dice(i, 14, 5) = 1),
    'token', encode(sha256(i::text::bytea), 'hex'))
FROM generate_series(1, :units * 500) i
JOIN words w1 ON w1.n = dice(i, 10, 6000) JOIN words w2 ON w2.n = dice(i, 11, 6000);

INSERT INTO entries
SELECT i, 1 + dice(i, 20, :units * 500), left(a.text, 40 + dice(i, 21, 30)::int),
  a.text || b.text || CASE WHEN dice(i, 22, 3) > 0 THEN c.text || d.text ELSE '' END,
  ARRAY[w.word, (ARRAY['draft', 'public', 'archived'])[1 + dice(i, 23, 3)]],
  round((share(i, 24) * 1000)::numeric, 2), timestamptz '2022-01-01 UTC' + make_interval(secs => i * 97 + dice(i, 25, 90))
FROM generate_series(1, :units * 4500) i
JOIN passages a ON a.n = dice(i, 26, 30000) JOIN passages b ON b.n = dice(i, 27, 30000)
JOIN passages c ON c.n = dice(i, 28, 30000) JOIN passages d ON d.n = dice(i, 29, 30000)
JOIN words w ON w.n = dice(i, 30, 400);

INSERT INTO events
SELECT i, 1 + dice(i, 40, :units * 500),
  (ARRAY['login', 'page.view', 'entry.created', 'entry.updated', 'upload.finished', 'job.failed'])[1 + dice(i, 41, 6)],
  timestamptz '2023-01-01 UTC' + make_interval(secs => i * 11.7),
  jsonb_build_object('path', '/' || w.word || '/' || dice(i, 42, 100000), 'status', (ARRAY[200, 200, 200, 201, 304, 404, 500])[1 + dice(i, 43, 7)],
    'ms', round((share(i, 44) * 900)::numeric, 3), 'session', md5(dice(i, 45, 40000)::text),
    'client', jsonb_build_object('ip', concat_ws('.', 10, dice(i, 46, 256), dice(i, 47, 256), dice(i, 48, 256)),
      'agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:' || 100 + dice(i, 49, 40) || '.0)'))
FROM generate_series(1, :units * 9500) i JOIN words w ON w.n = dice(i, 50, 6000);

INSERT INTO measurements
SELECT i, dice(i, 60, 200), timestamptz '2024-01-01 UTC' + make_interval(secs => i),
  20 + 10 * sin(i / 5000.0) + share(i, 61), dice(i, 62, 4)
FROM generate_series(1, :units * 15000) i;

ALTER TABLE accounts ADD PRIMARY KEY (id), ADD UNIQUE (email);
ALTER TABLE entries ADD PRIMARY KEY (id), ADD FOREIGN KEY (account_id) REFERENCES accounts;
ALTER TABLE events ADD PRIMARY KEY (id);
ALTER TABLE measurements ADD PRIMARY KEY (id);
CREATE INDEX ON entries (account_id, created_at);
CREATE INDEX ON events (account_id, at);
CREATE INDEX ON measurements (sensor, at);
DROP FUNCTION share;
DROP FUNCTION dice;
VACUUM ANALYZE;
CHECKPOINT;
