\echo Use "CREATE EXTENSION tiercache" to load this file. \quit

CREATE SCHEMA tiercache;
GRANT USAGE ON SCHEMA tiercache TO PUBLIC;

-- The library must be preloaded; says so when it is not.
CREATE FUNCTION tiercache.check_preload() RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_check_preload' LANGUAGE C STRICT PARALLEL RESTRICTED;
SELECT tiercache.check_preload();

-- Queries. All of them are VOLATILE: each call sees what is committed when it is made.
CREATE FUNCTION tiercache.query(sql text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_query' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.query(text) IS
    'rows of one cached SELECT; needs a column definition list';

CREATE FUNCTION tiercache.query_json(sql text) RETURNS json
    AS 'MODULE_PATHNAME', 'tiercache_query_json' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.query_json(text) IS
    'rows of one cached SELECT as a JSON array, as coalesce(json_agg(t), ''[]'') gives them';

CREATE FUNCTION tiercache.fetch(sql text, params text[] DEFAULT '{}') RETURNS bytea
    AS 'MODULE_PATHNAME', 'tiercache_fetch' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.fetch(text, text[]) IS
    'rows of one cached SELECT as an entry for the outer tiers';

CREATE FUNCTION tiercache.session_key() RETURNS bytea
    AS 'MODULE_PATHNAME', 'tiercache_session_key' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.session_key() IS
    'role, search_path and settings of this session, as a part of the keys of its queries';

CREATE FUNCTION tiercache.token() RETURNS bigint
    AS 'MODULE_PATHNAME', 'tiercache_token' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION tiercache.token() IS
    'the clock now; after a commit, it is not older than that commit';

-- Administration: takes effect at commit.
CREATE FUNCTION tiercache.invalidate(relation regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_invalidate' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.invalidate(regclass) IS
    'at commit, every result that was computed from the relation dies, in all tiers';
REVOKE ALL ON FUNCTION tiercache.invalidate(regclass) FROM PUBLIC;

CREATE FUNCTION tiercache.reset() RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_reset' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.reset() IS
    'at commit, every result that was computed before dies, in all tiers';
REVOKE ALL ON FUNCTION tiercache.reset() FROM PUBLIC;
