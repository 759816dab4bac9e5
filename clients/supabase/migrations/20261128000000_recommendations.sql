-- For functions/recommend: the ideas that a user keeps, and how often a user may ask the language model.
create table if not exists recommendations (
  id                 uuid primary key default gen_random_uuid(),
  user_id            uuid not null default auth.uid() references auth.users on delete cascade,
  topic              text not null check (length(topic) <= 60),
  title              text not null check (length(title) <= 100),
  viral_score        double precision not null,
  gain               double precision not null,
  predicted_velocity double precision not null,
  low                double precision,
  high               double precision,
  reasons            text[] not null,
  model_version      text not null,
  created_at         timestamptz not null default now()
);
alter table recommendations enable row level security;
create policy own_rows on recommendations for all to authenticated
  using (user_id = auth.uid()) with check (user_id = auth.uid());
grant select, insert, delete on recommendations to authenticated;

-- Only take_recommendation_call() reads and writes it: there is no policy.
create table if not exists recommendation_calls (
  user_id   uuid not null references auth.users on delete cascade,
  called_at timestamptz not null default now()
);
create index if not exists recommendation_calls_of_user on recommendation_calls (user_id, called_at);
alter table recommendation_calls enable row level security;
revoke all on recommendation_calls from anon, authenticated;

-- Counts a call of the language model; false once the caller has made 20 within a day.
create or replace function take_recommendation_call() returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  caller uuid := auth.uid();
begin
  if caller is null then
    return false;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('recommendation_calls' || caller::text, 0));
  delete from public.recommendation_calls where user_id = caller and called_at < now() - interval '1 day';
  if (select count(*) from public.recommendation_calls where user_id = caller) >= 20 then
    return false;
  end if;
  insert into public.recommendation_calls (user_id) values (caller);
  return true;
end $$;
revoke execute on function take_recommendation_call() from public;
grant execute on function take_recommendation_call() to authenticated;
