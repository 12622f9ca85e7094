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

-- Observation.
CREATE FUNCTION tiercache.explain(
    sql text, params text[] DEFAULT '{}',
    OUT cacheable boolean, OUT reason text, OUT bypass text, OUT dependencies text[], OUT cost float8,
    OUT cached boolean, OUT fresh boolean, OUT stamp bigint)
    AS 'MODULE_PATHNAME', 'tiercache_explain' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.explain(text, text[]) IS
    'whether a query can be cached, all reasons why not, what it depends on, and whether it is cached now';

CREATE FUNCTION tiercache.read_stats(
    OUT hits bigint, OUT misses_absent bigint, OUT misses_changed bigint, OUT misses_expired bigint,
    OUT hit_ratio float8, OUT bypasses bigint, OUT fills bigint, OUT fills_unpublished bigint,
    OUT saved_ms float8,
    OUT entries bigint, OUT entry_bytes bigint, OUT memory_bytes bigint, OUT blocks bigint,
    OUT free_blocks bigint, OUT puts bigint, OUT put_failures bigint, OUT evicted bigint, OUT torn_reads bigint,
    OUT largest_entry_bytes bigint,
    OUT clock bigint, OUT floor bigint, OUT epoch text, OUT lease_left_ms bigint,
    OUT open boolean, OUT in_doubt integer, OUT ddl_pending integer)
    AS 'MODULE_PATHNAME', 'tiercache_read_stats' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE VIEW tiercache.stats AS SELECT * FROM tiercache.read_stats();
COMMENT ON VIEW tiercache.stats IS 'what the cache did since the server started, and its clock; one row';
GRANT SELECT ON tiercache.stats TO PUBLIC;

CREATE FUNCTION tiercache.list_entries(
    OUT database_oid oid, OUT role_oid oid, OUT sql text, OUT params text[], OUT format text, OUT class text,
    OUT rows bigint, OUT raw_bytes bigint, OUT stored_bytes bigint, OUT age_ms bigint, OUT ttl_left_ms bigint,
    OUT stamp bigint, OUT fill_ms float8, OUT tags integer, OUT verdict text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_list_entries' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE VIEW tiercache.entries AS
    SELECT d.datname AS database, r.rolname AS role, e.sql, e.params, e.format, e.class, e.rows, e.raw_bytes,
           e.stored_bytes, e.age_ms, e.ttl_left_ms, e.stamp, e.fill_ms, e.tags, e.verdict
    FROM tiercache.list_entries() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.database_oid
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.role_oid;
COMMENT ON VIEW tiercache.entries IS
    'what is cached in PostgreSQL; queries of other roles are shown to members of pg_read_all_stats only';
GRANT SELECT ON tiercache.entries TO PUBLIC;
