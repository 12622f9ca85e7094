-- What the specs use, loaded into the test database of a server built with pause points.
CREATE EXTENSION tiercache;
CREATE SCHEMA tiercache_test;
GRANT USAGE ON SCHEMA tiercache_test TO PUBLIC;

CREATE FUNCTION tiercache_test.pause(point text) RETURNS void LANGUAGE c AS 'tiercache', 'tiercache_pause';
CREATE FUNCTION tiercache_test.resume(point text) RETURNS void LANGUAGE c AS 'tiercache', 'tiercache_resume';
CREATE FUNCTION tiercache_test.is_paused(pid int) RETURNS boolean LANGUAGE c AS 'tiercache', 'tiercache_is_paused';

-- A query through the cache, and whether the cache had it.
CREATE FUNCTION tiercache_test.hits() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
    'SELECT hits FROM tiercache.stats';
CREATE FUNCTION tiercache_test.read(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before bigint := tiercache_test.hits();
    answer text := tiercache.query_json(query);
BEGIN
    RETURN answer || CASE WHEN tiercache_test.hits() > before THEN ' (hit)' ELSE ' (miss)' END;
END $$;

-- isolationtester asks this function whether a step waits: a paused backend does, and one that waits for another's
-- result. (Whoever asks another server waits in the same way; where that is done, nobody waits for results.) PostgreSQL calls a built-in function
-- by its OID whatever pg_proc says, so the original moves away instead of being replaced.
ALTER FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(int, int[]) RENAME TO tiercache_core_is_blocked;
CREATE FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(pid int, others int[]) RETURNS boolean
    LANGUAGE sql STRICT VOLATILE AS
    'SELECT tiercache_test.is_paused($1) OR pg_catalog.tiercache_core_is_blocked($1, $2)
        OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = $1 AND a.wait_event_type = ''Extension'')
           AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = ''postgres_fdw'')';

-- Hits since this session's last call.
CREATE FUNCTION tiercache_test.new_hits() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('tiercache_test.hits', true), ''), '0')::bigint;
    now_hits bigint := tiercache_test.hits();
BEGIN
    PERFORM set_config('tiercache_test.hits', now_hits::text, false);
    RETURN now_hits - seen;
END $$;

-- Did somebody wait for another's result since the last call, and how many were served from one?
CREATE FUNCTION tiercache_test.new_shared(OUT waited boolean, OUT served bigint) LANGUAGE plpgsql AS $$
DECLARE
    seen bigint[] := coalesce(nullif(current_setting('tiercache_test.shared', true), ''), '{0,0}')::bigint[];
    waits bigint;
    hits bigint;
BEGIN
    SELECT shared_waits, shared_hits INTO waits, hits FROM tiercache.stats;
    PERFORM set_config('tiercache_test.shared', ARRAY[waits, hits]::text, false);
    waited := waits > seen[1];
    served := hits - seen[2];
END $$;

-- Fails, or is slow, where a session says so.
CREATE FUNCTION tiercache_test.odd(v int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_setting('tiercache_test.fails', true) = 'on' THEN RAISE EXCEPTION 'it fails'; END IF;
    RETURN v;
END $$;
