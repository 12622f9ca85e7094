\echo Use "ALTER EXTENSION tiercache UPDATE TO '1.1'" to load this file. \quit

-- Data classes: how long results live in each tier, and what makes room first (data_class). Users edit them.
CREATE TABLE tiercache.classes (
    name text PRIMARY KEY,
    data_class text NOT NULL CHECK (data_class IN ('hot', 'warm', 'cold', 'reference')),
    l1 interval NOT NULL CHECK (l1 > '0'),
    l2 interval NOT NULL CHECK (l2 > '0'),
    l3 interval NOT NULL CHECK (l3 > '0'),
    l4 interval NOT NULL CHECK (l4 > '0'),
    max_staleness interval NOT NULL DEFAULT '0' CHECK (max_staleness >= '0'),
    edited boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE tiercache.classes IS 'data classes of results: times to live in each tier, and what makes room first';
COMMENT ON COLUMN tiercache.classes.edited IS 'is it not one of the defaults? Set by a trigger';
INSERT INTO tiercache.classes VALUES
    ('hot', 'hot', '300 s', '3600 s', '7200 s', '86400 s', '5 s', false),
    ('warm', 'warm', '60 s', '1800 s', '3600 s', '43200 s', '0', false),
    ('cold', 'cold', '30 s', '900 s', '1800 s', '21600 s', '0', false),
    ('reference', 'reference', '1800 s', '86400 s', '259200 s', '2592000 s', '0', false),
    -- By granularity, where a query has one.
    ('realtime', 'hot', '300 s', '300 s', '300 s', '300 s', '0', false),
    ('hourly', 'warm', '3600 s', '3600 s', '3600 s', '3600 s', '0', false),
    ('daily', 'warm', '86400 s', '86400 s', '86400 s', '86400 s', '0', false),
    ('weekly', 'reference', '604800 s', '604800 s', '604800 s', '604800 s', '0', false),
    ('monthly', 'reference', '2592000 s', '2592000 s', '2592000 s', '2592000 s', '0', false);
CREATE FUNCTION tiercache.classes_edited() RETURNS trigger
    AS 'MODULE_PATHNAME', 'tiercache_classes_edited' LANGUAGE C SECURITY DEFINER;
CREATE TRIGGER edited BEFORE INSERT OR UPDATE OR DELETE ON tiercache.classes
    FOR EACH ROW EXECUTE FUNCTION tiercache.classes_edited();
GRANT SELECT ON tiercache.classes TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tiercache.classes', 'WHERE edited');

-- Foreign tables whose results may be kept, and for how long: nobody tells of changes on the other side. Users edit it.
CREATE TABLE tiercache.foreign_tables (
    relation regclass PRIMARY KEY,
    ttl interval NOT NULL CHECK (ttl > '0')
);
COMMENT ON TABLE tiercache.foreign_tables IS 'foreign tables whose results may be cached, and for how long at most';
GRANT SELECT ON tiercache.foreign_tables TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('tiercache.foreign_tables', '');

-- Queries with options. Their first argument is a varchar, so that calls without options mean the functions of one
-- argument, which cost less to call.
CREATE FUNCTION tiercache.query(
    sql varchar, params text[] DEFAULT '{}', class text DEFAULT NULL, ttl interval DEFAULT NULL,
    tags text[] DEFAULT NULL, max_staleness interval DEFAULT NULL)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_query_with' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.query(varchar, text[], text, interval, text[], interval) IS
    'rows of one cached SELECT; needs a column definition list';

CREATE FUNCTION tiercache.query_json(
    sql varchar, params text[] DEFAULT '{}', class text DEFAULT NULL, ttl interval DEFAULT NULL,
    tags text[] DEFAULT NULL, max_staleness interval DEFAULT NULL)
    RETURNS json
    AS 'MODULE_PATHNAME', 'tiercache_query_json_with' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.query_json(varchar, text[], text, interval, text[], interval) IS
    'rows of one cached SELECT as a JSON array, as coalesce(json_agg(t), ''[]'') gives them';

CREATE FUNCTION tiercache.fetch(
    sql varchar, params text[] DEFAULT '{}', class text DEFAULT NULL, ttl interval DEFAULT NULL,
    tags text[] DEFAULT NULL, max_staleness interval DEFAULT NULL)
    RETURNS bytea
    AS 'MODULE_PATHNAME', 'tiercache_fetch_with' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.fetch(varchar, text[], text, interval, text[], interval) IS
    'rows of one cached SELECT as an entry for the outer tiers';

-- Administration.
CREATE FUNCTION tiercache.invalidate_tag(tag text) RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_invalidate_tag' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.invalidate_tag(text) IS
    'at commit, every result that was given this tag dies, in all tiers';
REVOKE ALL ON FUNCTION tiercache.invalidate_tag(text) FROM PUBLIC;

DROP FUNCTION tiercache.reset();
CREATE FUNCTION tiercache.reset(database name DEFAULT NULL, role name DEFAULT NULL, sql text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_reset_selected' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.reset(name, name, text) IS
    'without arguments, at commit: every result dies, in all tiers; with some: takes those results out of PostgreSQL''s cache';
REVOKE ALL ON FUNCTION tiercache.reset(name, name, text) FROM PUBLIC;

-- Observation.
CREATE FUNCTION tiercache.relation_tag(relation regclass) RETURNS bigint
    AS 'MODULE_PATHNAME', 'tiercache_relation_tag' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tiercache.relation_tag(regclass) IS 'the tag that results which read this relation have';
CREATE FUNCTION tiercache.label_tag(tag text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'tiercache_label_tag' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tiercache.label_tag(text) IS 'the tag that results which were given this name have';

CREATE FUNCTION tiercache.read_tag(tag bigint, OUT version bigint, OUT writers bigint)
    AS 'MODULE_PATHNAME', 'tiercache_read_tag' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE FUNCTION tiercache.list_dependencies(
    OUT database_oid oid, OUT role_oid oid, OUT sql text, OUT format text, OUT tag bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_list_dependencies' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

CREATE FUNCTION tiercache.list_tag_names(OUT tag bigint, OUT kind text, OUT name text, OUT relation oid)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_list_tag_names' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

CREATE VIEW tiercache.dependencies AS
    SELECT d.datname AS database, r.rolname AS role, e.sql, e.format, e.tag, n.relation::pg_catalog.regclass AS relation,
           n.kind, n.name
    FROM tiercache.list_dependencies() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.database_oid
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.role_oid
    LEFT JOIN tiercache.list_tag_names() n ON n.tag = e.tag;
COMMENT ON VIEW tiercache.dependencies IS
    'on what each entry depends: things of this database by kind and name, labels and all else by the tag only';
GRANT SELECT ON tiercache.dependencies TO PUBLIC;

CREATE VIEW tiercache.tags AS
    SELECT e.tag, n.relation::pg_catalog.regclass AS relation, n.kind, n.name, e.entries, t.version, t.writers
    FROM (SELECT tag, count(*) AS entries FROM tiercache.list_dependencies() GROUP BY tag) e
    CROSS JOIN LATERAL tiercache.read_tag(e.tag) t
    LEFT JOIN tiercache.list_tag_names() n ON n.tag = e.tag;
COMMENT ON VIEW tiercache.tags IS
    'what entries depend on: when it last changed, by the clock, and how many transactions are changing it now';
GRANT SELECT ON tiercache.tags TO PUBLIC;

DROP FUNCTION tiercache.explain(text, text[]);
CREATE FUNCTION tiercache.explain(
    sql text, params text[] DEFAULT '{}',
    OUT cacheable boolean, OUT reason text, OUT bypass text, OUT dependencies text[], OUT cost float8,
    OUT cached boolean, OUT fresh boolean, OUT stamp bigint,
    OUT run_ms float8, OUT run_known_from text, OUT hit_ms float8, OUT saves_ms float8)
    AS 'MODULE_PATHNAME', 'tiercache_explain' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION tiercache.explain(text, text[]) IS
    'whether a query can be cached, all reasons why not, what it depends on, whether it is cached now, and what a hit saves';

DROP VIEW tiercache.stats;
DROP FUNCTION tiercache.read_stats();
CREATE FUNCTION tiercache.read_stats(
    OUT hits bigint, OUT misses_absent bigint, OUT misses_changed bigint, OUT misses_expired bigint,
    OUT hit_ratio float8, OUT bypasses bigint, OUT fills bigint, OUT fills_unpublished bigint,
    OUT saved_ms float8,
    OUT entries bigint, OUT entry_bytes bigint, OUT memory_bytes bigint, OUT blocks bigint,
    OUT free_blocks bigint, OUT puts bigint, OUT put_failures bigint, OUT evicted bigint, OUT torn_reads bigint,
    OUT largest_entry_bytes bigint,
    OUT clock bigint, OUT floor bigint, OUT epoch text, OUT lease_left_ms bigint,
    OUT open boolean, OUT in_doubt integer, OUT ddl_pending integer, OUT stale_hits bigint,
    OUT shared_waits bigint, OUT shared_hits bigint, OUT recalled_hits bigint)
    AS 'MODULE_PATHNAME', 'tiercache_read_stats' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE VIEW tiercache.stats AS SELECT * FROM tiercache.read_stats();
COMMENT ON VIEW tiercache.stats IS 'what the cache did since the server started, and its clock; one row';
GRANT SELECT ON tiercache.stats TO PUBLIC;

-- Patterns: queries by PostgreSQL's query id, and what caching them is worth.
CREATE FUNCTION tiercache.list_patterns(
    OUT database_oid oid, OUT role_oid oid, OUT query_id bigint, OUT query text, OUT relation_oids oid[],
    OUT seconds bigint, OUT calls bigint, OUT hits bigint, OUT run_us bigint, OUT rows bigint, OUT bytes bigint,
    OUT repeats bigint, OUT changes bigint)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'tiercache_list_patterns' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

CREATE FUNCTION tiercache.reset_patterns() RETURNS void
    AS 'MODULE_PATHNAME', 'tiercache_reset_patterns' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION tiercache.reset_patterns() IS 'forgets all patterns, of all databases, at once';
REVOKE ALL ON FUNCTION tiercache.reset_patterns() FROM PUBLIC;

-- The class of a pattern, or null when it is not worth caching; and why.
CREATE FUNCTION tiercache.judge_pattern(
    seconds bigint, calls bigint, mean_ms float8, mean_bytes float8, predicted_hit_ratio float8, changes bigint,
    min_calls bigint, min_ms float8, OUT class text, OUT reason text)
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN f.against IS NOT NULL THEN NULL
                WHEN changes = 0 AND seconds >= 86400 THEN 'reference'
                WHEN f.per_hour >= 60 THEN 'hot'
                WHEN f.per_hour >= 1 THEN 'warm'
                ELSE 'cold' END,
           coalesce(f.against, pg_catalog.format(
               '%s of 100 calls would be hits, each saves %s ms; %s calls an hour, what it reads changed %s times in %s s',
               pg_catalog.round((predicted_hit_ratio * 100)::numeric), pg_catalog.round(mean_ms::numeric, 1),
               pg_catalog.round(f.per_hour::numeric), changes, seconds))
    FROM (SELECT calls * 3600.0 / greatest(seconds, 1) AS per_hour,
              CASE WHEN calls < min_calls THEN pg_catalog.format('%s calls are too few to tell', calls)
                   WHEN mean_ms < min_ms THEN pg_catalog.format('a run takes %s ms, hardly more than a hit', pg_catalog.round(mean_ms::numeric, 3))
                   WHEN mean_bytes > pg_catalog.pg_size_bytes(pg_catalog.current_setting('tiercache.max_entry_size'))
                       THEN 'its results are larger than tiercache.max_entry_size'
                   WHEN predicted_hit_ratio < 0.1 AND changes > calls / 2 THEN 'what it reads changes between most calls'
                   WHEN predicted_hit_ratio < 0.1 THEN 'the same question hardly ever comes twice' END AS against) f
$$;

CREATE VIEW tiercache.patterns AS
    SELECT d.datname AS database, r.rolname AS role, p.query_id, p.query,
           CASE WHEN d.datname = pg_catalog.current_database() THEN p.relation_oids::pg_catalog.regclass[] END AS relations,
           p.calls, p.hits, m.mean_ms, m.mean_rows, m.mean_bytes, p.changes, p.changes * 3600.0 / greatest(p.seconds, 1) AS changes_per_hour,
           m.predicted_hit_ratio, p.repeats * m.mean_ms AS saves_ms, j.class, j.reason
    FROM tiercache.list_patterns() p
    LEFT JOIN pg_catalog.pg_database d ON d.oid = p.database_oid
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = p.role_oid
    CROSS JOIN LATERAL (SELECT p.run_us / 1000.0 / nullif(p.calls - p.hits, 0) AS mean_ms,
                               p.rows::float8 / nullif(p.calls, 0) AS mean_rows,
                               p.bytes::float8 / nullif(p.calls, 0) AS mean_bytes,
                               p.repeats::float8 / nullif(p.calls, 0) AS predicted_hit_ratio) m
    CROSS JOIN LATERAL tiercache.judge_pattern(p.seconds, p.calls, m.mean_ms, m.mean_bytes, m.predicted_hit_ratio, p.changes, 10, 1) j;
COMMENT ON VIEW tiercache.patterns IS
    'queries that differ in constants only: what they cost, and whether caching them is worth it, in which class, and why';
GRANT SELECT ON tiercache.patterns TO PUBLIC;

CREATE FUNCTION tiercache.classify(
    min_calls bigint DEFAULT 10, min_ms float8 DEFAULT 1,
    OUT query_id bigint, OUT query text, OUT class text, OUT saves_ms float8, OUT reason text)
    RETURNS SETOF record LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS $$
    SELECT p.query_id, p.query, j.class, p.repeats * m.mean_ms, j.reason
    FROM tiercache.list_patterns() p
    CROSS JOIN LATERAL (SELECT p.run_us / 1000.0 / nullif(p.calls - p.hits, 0) AS mean_ms,
                               p.bytes::float8 / nullif(p.calls, 0) AS mean_bytes,
                               p.repeats::float8 / nullif(p.calls, 0) AS predicted_hit_ratio) m
    CROSS JOIN LATERAL tiercache.judge_pattern(p.seconds, p.calls, m.mean_ms, m.mean_bytes, m.predicted_hit_ratio, p.changes,
                                               min_calls, min_ms) j
    WHERE j.class IS NOT NULL
      AND p.database_oid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    ORDER BY 4 DESC
$$;
COMMENT ON FUNCTION tiercache.classify(bigint, float8) IS
    'a class for each pattern of this database that is worth caching, what saves most first';
