-- What the other suites use; this one runs first.
CREATE SCHEMA helpers;
GRANT USAGE ON SCHEMA helpers TO PUBLIC;

-- The query's answer as PostgreSQL gives it.
CREATE FUNCTION helpers.truth(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
    EXECUTE 'SELECT coalesce(json_agg(rows_of_the_query), ''[]'')::text FROM (' || query || ') rows_of_the_query' INTO answer;
    RETURN answer;
END $$;

-- hit, miss (and why) or bypass: how tiercache answered it, and whether the answer is the truth, byte for byte.
CREATE FUNCTION helpers.served(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before tiercache.stats;
    after tiercache.stats;
    answer text;
BEGIN
    SELECT * INTO before FROM tiercache.stats;
    answer := tiercache.query_json(query);
    SELECT * INTO after FROM tiercache.stats;
    RETURN CASE
        WHEN after.hits > before.hits THEN 'hit'
        WHEN after.misses_changed > before.misses_changed THEN 'miss: changed'
        WHEN after.misses_expired > before.misses_expired THEN 'miss: expired'
        WHEN after.misses_absent > before.misses_absent THEN 'miss'
        WHEN after.bypasses > before.bypasses THEN 'bypass'
        ELSE '?' END
        || CASE WHEN after.fills_unpublished > before.fills_unpublished THEN ', not stored' ELSE '' END
        || CASE WHEN answer = helpers.truth(query) THEN '' ELSE ', WRONG: ' || answer END;
END $$;

-- Twice: the first fills, the second hits.
CREATE FUNCTION helpers.twice(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN helpers.served(query) || ' / ' || helpers.served(query);
END $$;

-- The number of hits since the last call.
CREATE FUNCTION helpers.new_hits() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    seen bigint := coalesce(nullif(current_setting('helpers.hits', true), ''), '0')::bigint;
    now_hits bigint := (SELECT hits FROM tiercache.stats);
BEGIN
    PERFORM set_config('helpers.hits', now_hits::text, false);
    RETURN now_hits - seen;
END $$;
