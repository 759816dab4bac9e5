-- What a score is judged by: `snapshots` keeps the counts of every row of `candidates` at each scrape, `predictions` every
-- score with what it was based on. clients/trigger_inference.py and ./miles score-dataset fill both, ./miles outcomes
-- compares them, and ./miles train --from learns from them; see docs/outcomes.md. Run it after clients/database/schema.sql,
-- in Supabase's SQL editor or with: psql "$DATABASE_URL" -f clients/database/loop.sql. It can be run again.
create table if not exists snapshots (
  candidate_id text not null,              -- candidates.id, whatever its type
  taken_at timestamptz not null default clock_timestamp(),  -- when the counts were read
  view_count bigint,
  like_count bigint,
  comment_count bigint,
  primary key (candidate_id, taken_at)
);
alter table snapshots add column if not exists kept_at timestamptz not null default clock_timestamp();

create table if not exists predictions (
  id uuid primary key,                     -- the same for the same counts of a video and the same model
  candidate_id text not null,
  predicted_at timestamptz not null default clock_timestamp(),
  observed_at timestamptz not null,        -- when the counts were read
  view_count bigint,                       -- the counts that were scored; null: unknown
  like_count bigint,
  comment_count bigint,
  model_version text not null,
  viral_score double precision not null check (viral_score between 0 and 1),
  predicted_velocity double precision not null check (predicted_velocity >= 0),  -- views per day
  velocity_low double precision,           -- the interval around it; null: the model has none
  velocity_high double precision,
  known text[] not null,                   -- the fields of the request that were known
  image text,                              -- used, missing, or failed: and why
  warnings text[] not null default '{}',
  request_id text,
  shadow_of uuid references predictions    -- the served prediction that this shadow score belongs to; null: it was served
);
create index if not exists predictions_by_time on predictions (observed_at);
create index if not exists predictions_by_candidate on predictions (candidate_id, observed_at);

create or replace function keep_snapshot() returns trigger language plpgsql security definer
set search_path from current set timezone to 'UTC' as $$  -- a time without a zone is UTC, as in a request
declare
  read_at timestamptz := coalesce(new.scraped_at, new.created_at, clock_timestamp());
begin
  if tg_op = 'UPDATE' then
    if (new.view_count, new.like_count, new.comment_count, new.scraped_at)
       is not distinct from (old.view_count, old.like_count, old.comment_count, old.scraped_at) then
      return null;
    end if;
    if new.scraped_at is not distinct from old.scraped_at then  -- the scraper does not say when it read them
      read_at := clock_timestamp();
    end if;
  end if;
  insert into snapshots (candidate_id, taken_at, view_count, like_count, comment_count)
  values (new.id::text, read_at, new.view_count, new.like_count, new.comment_count)
  on conflict (candidate_id, taken_at) do nothing;
  return null;
end $$;

do $$ begin
  -- Columns of other types fail here, and not at the scraper's next insert.
  insert into snapshots (candidate_id, taken_at, view_count, like_count, comment_count)
  select id::text, coalesce(scraped_at, created_at, clock_timestamp()), view_count, like_count, comment_count
  from candidates limit 0;
  create or replace trigger keep_snapshot
  after insert or update of view_count, like_count, comment_count, scraped_at on candidates
  for each row execute function keep_snapshot();
end $$;

-- Everyone may read, as with the candidates; only the table's owner and Supabase's service role write.
alter table snapshots enable row level security;
alter table predictions enable row level security;
drop policy if exists read_all on snapshots;
drop policy if exists read_all on predictions;
create policy read_all on snapshots for select using (true);
create policy read_all on predictions for select using (true);
do $$ begin
  if exists (select from pg_roles where rolname = 'service_role') then  -- it bypasses row-level security on Supabase
    grant select, insert, update, delete on snapshots, predictions to service_role;
  end if;
  if exists (select from pg_roles where rolname = 'anon') then
    grant select on snapshots, predictions to anon;
  end if;
end $$;
