-- The scraper's table. clients/trigger_inference.py finds rows whose analyzed_at is null, and writes miles_score,
-- predicted_velocity and analyzed_at. Run it in Supabase's SQL editor, or: psql "$DATABASE_URL" -f clients/database/schema.sql
create table if not exists candidates (
  id uuid primary key default gen_random_uuid(),
  video_id text,
  platform text,
  title text,
  description text,
  thumbnail_url text,
  channel_name text,
  upload_date timestamptz,
  view_count bigint,
  like_count bigint,
  comment_count bigint,
  miles_score double precision,          -- probability that the video goes viral, 0 to 1
  predicted_velocity double precision,   -- views per day
  tags text[],
  duration_seconds double precision,
  scraped_at timestamptz,                -- when the counts were read
  analyzed_at timestamptz,               -- when it was scored; null: not yet
  created_at timestamptz default now()
);

-- The rows that the scraper's step looks for, in the order in which it takes them.
create index if not exists candidates_unscored on candidates (created_at, id) where analyzed_at is null;
