-- Keeps the counts of every row of `candidates` as they were at each scrape, so that a score can later be compared
-- with what became of the video. clients/trigger_inference.py --rescore-after finds by it which counts have changed.
-- Run it after clients/schema.sql, in Supabase's SQL editor or with: psql "$DATABASE_URL" -f clients/snapshots.sql
create table if not exists snapshots (
  candidate_id text not null,              -- candidates.id, whatever its type
  taken_at timestamptz not null default clock_timestamp(),
  view_count bigint,
  like_count bigint,
  comment_count bigint,
  primary key (candidate_id, taken_at)
);

create or replace function keep_snapshot() returns trigger language plpgsql security definer
set search_path from current as $$
begin
  if tg_op = 'INSERT' or (new.view_count, new.like_count, new.comment_count)
     is distinct from (old.view_count, old.like_count, old.comment_count) then
    insert into snapshots (candidate_id, view_count, like_count, comment_count)
    values (new.id::text, new.view_count, new.like_count, new.comment_count);
  end if;
  return null;
end $$;

create or replace trigger keep_snapshot after insert or update of view_count, like_count, comment_count on candidates
for each row execute function keep_snapshot();

-- Everyone reads, as with the candidates; only the trigger writes.
alter table snapshots enable row level security;
drop policy if exists read_all on snapshots;
create policy read_all on snapshots for select using (true);
