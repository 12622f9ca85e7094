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

CREATE VIEW tiercache.dependencies AS
    SELECT d.datname AS database, r.rolname AS role, e.sql, e.format, e.tag, c.oid::pg_catalog.regclass AS relation
    FROM tiercache.list_dependencies() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.database_oid
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = e.role_oid
    LEFT JOIN pg_catalog.pg_class c ON tiercache.relation_tag(c.oid) = e.tag;
COMMENT ON VIEW tiercache.dependencies IS
    'on what each entry depends: relations of this database by name, all else by its tag only';
GRANT SELECT ON tiercache.dependencies TO PUBLIC;

CREATE VIEW tiercache.tags AS
    SELECT e.tag, c.oid::pg_catalog.regclass AS relation, e.entries, t.version, t.writers
    FROM (SELECT tag, count(*) AS entries FROM tiercache.list_dependencies() GROUP BY tag) e
    CROSS JOIN LATERAL tiercache.read_tag(e.tag) t
    LEFT JOIN pg_catalog.pg_class c ON tiercache.relation_tag(c.oid) = e.tag;
COMMENT ON VIEW tiercache.tags IS
    'what entries depend on: when it last changed, by the clock, and how many transactions are changing it now';
GRANT SELECT ON tiercache.tags TO PUBLIC;

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
    OUT shared_waits bigint, OUT shared_hits bigint)
    AS 'MODULE_PATHNAME', 'tiercache_read_stats' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
CREATE VIEW tiercache.stats AS SELECT * FROM tiercache.read_stats();
COMMENT ON VIEW tiercache.stats IS 'what the cache did since the server started, and its clock; one row';
GRANT SELECT ON tiercache.stats TO PUBLIC;
