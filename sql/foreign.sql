-- Foreign tables: cached only where tiercache.foreign_tables has a row, and ended by what this cluster does.
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;
CREATE TABLE far (id int, v int);
INSERT INTO far VALUES (1, 10), (2, 20);
CREATE TABLE near (id int, v int);
INSERT INTO near VALUES (1, 1), (2, 2);
-- This database, as if it were another server's.
DO $$ BEGIN
    EXECUTE format('CREATE SERVER far_server FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
                   current_setting('unix_socket_directories'), current_setting('port'), current_database());
END $$;
CREATE USER MAPPING FOR PUBLIC SERVER far_server OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE abroad (id int, v int) SERVER far_server OPTIONS (table_name 'far');
CREATE VIEW abroad_view AS SELECT id, v + 1 AS v FROM abroad;
COPY (SELECT generate_series(1, 3)) TO PROGRAM 'cat > tiercache_regress.csv';
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE listed (id int) SERVER files OPTIONS (filename 'tiercache_regress.csv');

-- Not without a row, and explain says what to do.
SELECT cacheable, reason FROM tiercache.explain('SELECT * FROM abroad');
SELECT tiercache.query_json('SELECT * FROM abroad_view');
INSERT INTO tiercache.foreign_tables VALUES ('abroad', '0');
INSERT INTO tiercache.foreign_tables VALUES ('abroad', NULL);
INSERT INTO tiercache.foreign_tables VALUES ('abroad', '1 hour'), ('listed', '1 min');
SELECT cacheable, reason, dependencies FROM tiercache.explain('SELECT * FROM abroad JOIN near USING (id)');
SELECT * FROM tiercache.foreign_tables ORDER BY ttl;

-- With one: all functions, views, joins.
SELECT helpers.twice('SELECT sum(v) FROM abroad');
SELECT helpers.twice('SELECT sum(v) FROM abroad_view');
SELECT helpers.twice('SELECT count(*) FROM abroad JOIN near USING (id)');
SELECT helpers.twice('SELECT count(*) FROM listed');
SELECT n FROM tiercache.query('SELECT count(*) FROM listed') AS t(n bigint);
SELECT length(tiercache.fetch('SELECT count(*) FROM listed WHERE id > $1', '{0}', ttl => '1 day', class => 'reference')) > 0;
-- Volatile is volatile.
SELECT tiercache.query_json('SELECT count(*) FROM abroad WHERE v > random()');
-- The row's time to live bounds those of classes and callers; the shortest counts.
SELECT sql, ttl_left_ms BETWEEN 40000 AND 60000 AS a_minute, ttl_left_ms BETWEEN 3000000 AND 3600000 AS an_hour
    FROM tiercache.entries WHERE sql LIKE '%listed%' OR sql LIKE '%abroad%' ORDER BY sql, format;
SELECT helpers.twice('SELECT count(*) FROM abroad, listed');
SELECT ttl_left_ms <= 60000 FROM tiercache.entries WHERE sql = 'SELECT count(*) FROM abroad, listed';
SELECT length(tiercache.query_json('SELECT max(v) FROM abroad', ttl => '2 s')::text) > 0;
SELECT ttl_left_ms <= 2000 FROM tiercache.entries WHERE sql = 'SELECT max(v) FROM abroad';

-- What is not done through this cluster's foreign table is not seen within that time.
COPY (SELECT generate_series(1, 4)) TO PROGRAM 'cat > tiercache_regress.csv';
SELECT tiercache.query_json('SELECT count(*) FROM listed'), count(*) FROM listed;
SELECT tiercache.invalidate('listed');
SELECT helpers.served('SELECT count(*) FROM listed');
SELECT helpers.twice('SELECT sum(v) FROM abroad');
UPDATE far SET v = 21 WHERE id = 2;
SELECT tiercache.query_json('SELECT sum(v) FROM abroad');

-- Changes through the foreign table end it at commit, though they take no transaction id here.
INSERT INTO abroad VALUES (3, 30);
SELECT helpers.twice('SELECT sum(v) FROM abroad');
UPDATE abroad SET v = v + 1;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
SELECT helpers.served('SELECT sum(v) FROM abroad_view');
DELETE FROM abroad WHERE id = 3;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
COPY abroad FROM STDIN;
4	40
\.
SELECT helpers.twice('SELECT sum(v) FROM abroad');
TRUNCATE abroad;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
WITH new AS (INSERT INTO abroad VALUES (1, 10), (2, 20) RETURNING id) SELECT count(*) FROM new;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
-- Nothing is served or stored in a transaction that has such changes.
BEGIN;
SELECT helpers.served('SELECT sum(v) FROM abroad');
INSERT INTO abroad VALUES (5, 50);
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
SELECT bypass FROM tiercache.explain('SELECT sum(v) FROM abroad');
ROLLBACK;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
BEGIN;
SAVEPOINT s;
INSERT INTO abroad VALUES (5, 50);
ROLLBACK TO s;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
COMMIT;
SELECT helpers.served('SELECT sum(v) FROM abroad');
-- Committed there, and then failed here.
BEGIN;
CREATE TEMP TABLE emptied (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE refers (id int REFERENCES emptied);
INSERT INTO abroad VALUES (6, 60);
COMMIT;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
-- A partition is changed through its parent, and the parent through its partition.
CREATE TABLE wide (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE wide_here PARTITION OF wide FOR VALUES FROM (0) TO (100);
CREATE TABLE wide_there_base (id int, v int);
CREATE FOREIGN TABLE wide_there PARTITION OF wide FOR VALUES FROM (100) TO (200) SERVER far_server
    OPTIONS (table_name 'wide_there_base');
SELECT helpers.twice('SELECT count(*) FROM wide WHERE id < 100');
SELECT cacheable, reason FROM tiercache.explain('SELECT count(*) FROM wide');
INSERT INTO tiercache.foreign_tables VALUES ('wide_there', '5 min');
SELECT helpers.twice('SELECT count(*) FROM wide');
INSERT INTO wide VALUES (101, 1);
SELECT helpers.twice('SELECT count(*) FROM wide');
INSERT INTO wide_there VALUES (102, 1);
SELECT helpers.twice('SELECT count(*) FROM wide');
INSERT INTO wide VALUES (1, 1);
SELECT helpers.twice('SELECT count(*) FROM wide');

-- Definitions: servers, user mappings, options, rights.
ALTER SERVER far_server OPTIONS (ADD fetch_size '50');
SELECT helpers.twice('SELECT sum(v) FROM abroad');
ALTER USER MAPPING FOR PUBLIC SERVER far_server OPTIONS (SET user 'postgres');
SELECT helpers.twice('SELECT sum(v) FROM abroad');
CREATE USER MAPPING FOR postgres SERVER far_server OPTIONS (user 'postgres', password_required 'false');
SELECT helpers.twice('SELECT sum(v) FROM abroad');
DROP USER MAPPING FOR postgres SERVER far_server;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
ALTER FOREIGN DATA WRAPPER postgres_fdw NO VALIDATOR;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
ALTER FOREIGN DATA WRAPPER postgres_fdw VALIDATOR postgres_fdw_validator;
SELECT helpers.twice('SELECT sum(v) FROM abroad');
ALTER FOREIGN TABLE abroad OPTIONS (ADD fetch_size '10');
SELECT helpers.twice('SELECT sum(v) FROM abroad');
CREATE TABLE elsewhere (id int, v int);
ALTER FOREIGN TABLE abroad OPTIONS (SET table_name 'elsewhere');
SELECT helpers.twice('SELECT count(*) FROM abroad');
ALTER FOREIGN TABLE abroad OPTIONS (SET table_name 'far');
SELECT helpers.twice('SELECT count(*) FROM abroad');
-- Of other tables: nothing.
SELECT helpers.twice('SELECT sum(v) FROM near');
ALTER SERVER far_server OPTIONS (SET fetch_size '60');
SELECT helpers.served('SELECT sum(v) FROM near'), helpers.served('SELECT count(*) FROM abroad');

-- The settings count at once, both ways.
UPDATE tiercache.foreign_tables SET ttl = '20 s' WHERE relation = 'abroad'::regclass;
SELECT helpers.twice('SELECT count(*) FROM abroad');
SELECT ttl_left_ms <= 20000 FROM tiercache.entries WHERE sql = 'SELECT count(*) FROM abroad' AND format = 'json';
DELETE FROM tiercache.foreign_tables WHERE relation = 'abroad'::regclass;
SELECT helpers.served('SELECT count(*) FROM abroad');
INSERT INTO tiercache.foreign_tables VALUES ('abroad', '1 hour');
SELECT helpers.twice('SELECT count(*) FROM abroad');

-- What functions read counts, and what they were served from the cache.
CREATE FUNCTION abroad_sum(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT sum(v) FROM abroad) + $1; END';
CREATE FUNCTION listed_count(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN tiercache.query_json('SELECT count(*) FROM listed')::text || $1; END $$;
SELECT helpers.twice('SELECT abroad_sum(id) FROM near WHERE id = 1');
SELECT ttl_left_ms BETWEEN 3000000 AND 3600000 FROM tiercache.entries WHERE sql LIKE 'SELECT abroad_sum%';
INSERT INTO abroad VALUES (7, 7);
SELECT helpers.twice('SELECT abroad_sum(id) FROM near WHERE id = 1');
SELECT helpers.served('SELECT count(*) FROM listed');
SELECT helpers.twice('SELECT listed_count(id) FROM near WHERE id = 1');
SELECT ttl_left_ms <= 60000 FROM tiercache.entries WHERE sql LIKE 'SELECT listed_count%';

-- REPEATABLE READ has one snapshot here and another there, and nobody knows how they lie.
SELECT helpers.twice('SELECT sum(v) FROM near');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT helpers.twice('SELECT count(*) FROM abroad'), helpers.served('SELECT sum(v) FROM near');
SELECT fresh FROM tiercache.explain('SELECT count(*) FROM abroad');
COMMIT;
SELECT helpers.served('SELECT count(*) FROM abroad');

-- A transaction's later reads may be of its first moment: what is stored then is no younger.
BEGIN;
SELECT count(*) FROM abroad;
SELECT pg_sleep(0.3);
SELECT length(tiercache.query_json('SELECT 1 FROM abroad LIMIT 1')::text) > 0;
SELECT age_ms >= 300 FROM tiercache.entries WHERE sql = 'SELECT 1 FROM abroad LIMIT 1';
COMMIT;

-- Transparently.
SET tiercache.mode = auto;
EXPLAIN (COSTS OFF) SELECT id FROM abroad;
SELECT max(id) FROM abroad;
SELECT helpers.new_hits() >= 0;
SELECT max(id) FROM abroad;
SELECT helpers.new_hits();
INSERT INTO abroad VALUES (8, 8);
SELECT max(id) FROM abroad;
SELECT max(id) FROM abroad;
SELECT helpers.new_hits();
PREPARE far_sum(int) AS SELECT sum(v) FROM abroad WHERE id > $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE far_sum(1);
EXECUTE far_sum(1);
SELECT helpers.new_hits();
UPDATE tiercache.foreign_tables SET ttl = '10 s' WHERE relation = 'abroad'::regclass;
EXECUTE far_sum(1);
EXECUTE far_sum(1);
SELECT helpers.new_hits();
SELECT ttl_left_ms <= 10000 FROM tiercache.entries WHERE sql LIKE 'SELECT sum(v) FROM abroad WHERE id > $1%';
DELETE FROM tiercache.foreign_tables WHERE relation = 'abroad'::regclass;
EXECUTE far_sum(1);
EXECUTE far_sum(1);
SELECT helpers.new_hits();
INSERT INTO tiercache.foreign_tables VALUES ('abroad', '1 hour');
-- A hit is not compared with rows that may be younger.
SET tiercache.verify = error;
SELECT min(id) FROM listed;
COPY (SELECT generate_series(5, 6)) TO PROGRAM 'cat > tiercache_regress.csv';
SELECT min(id) FROM listed;
RESET tiercache.verify;
RESET tiercache.mode;

-- Rights of this cluster count on hits.
CREATE ROLE abroad_reader;
GRANT SELECT ON abroad TO abroad_reader;
SET ROLE abroad_reader;
SELECT helpers.twice('SELECT count(*) FROM abroad WHERE id < 5');
INSERT INTO tiercache.foreign_tables VALUES ('far', '1 h');
RESET ROLE;
REVOKE SELECT ON abroad FROM abroad_reader;
SET ROLE abroad_reader;
SELECT tiercache.query_json('SELECT count(*) FROM abroad WHERE id < 5');
RESET ROLE;
DROP ROLE abroad_reader;

-- A table that is dropped and made again has another number, and no row.
DROP FOREIGN TABLE abroad CASCADE;
CREATE FOREIGN TABLE abroad (id int, v int) SERVER far_server OPTIONS (table_name 'far');
SELECT cacheable FROM tiercache.explain('SELECT count(*) FROM abroad');
DROP SERVER far_server CASCADE;
SELECT helpers.served('SELECT count(*) FROM wide');
DELETE FROM tiercache.foreign_tables;
DROP TABLE wide, wide_there_base, far, near, elsewhere;
DROP FUNCTION abroad_sum, listed_count;
DROP SERVER files CASCADE;
DROP EXTENSION postgres_fdw, file_fdw;
COPY (SELECT 1) TO PROGRAM 'rm tiercache_regress.csv && cat';
