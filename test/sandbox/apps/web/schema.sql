-- The kinds of things that a dump has to carry: an enum, bytea, jsonb, arrays, numerics, identity and plain sequences,
-- foreign keys, indexes of two sorts, a view, a trigger.
DO $$ BEGIN
  CREATE TYPE entry_kind AS ENUM ('meal', 'symptom', 'note');
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

CREATE TABLE IF NOT EXISTS users (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL UNIQUE,
  password_hash bytea NOT NULL,
  is_admin boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE IF NOT EXISTS receipt_numbers START 1000;

CREATE TABLE IF NOT EXISTS entries (
  id bigserial PRIMARY KEY,
  user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
  receipt bigint NOT NULL DEFAULT nextval('receipt_numbers'),
  kind entry_kind NOT NULL DEFAULT 'note',
  body text NOT NULL,
  details jsonb NOT NULL DEFAULT '{}',
  amount numeric(12, 3),
  tags text[] NOT NULL DEFAULT '{}',
  happened_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamp
);
CREATE INDEX IF NOT EXISTS entries_by_user ON entries (user_id, happened_at DESC);
CREATE INDEX IF NOT EXISTS entries_details ON entries USING gin (details);

CREATE TABLE IF NOT EXISTS uploads (
  name text PRIMARY KEY,
  bytes bigint NOT NULL,
  sha256 bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER entries_touch BEFORE UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION touch();

CREATE OR REPLACE VIEW daily AS
  SELECT user_id, date_trunc('day', happened_at) AS day, count(*) AS entries, sum(amount) AS amount
  FROM entries GROUP BY 1, 2;
