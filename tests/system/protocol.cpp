// protocol SOCKET USER DATABASE
// Transparent mode in the extended protocol: prepared statements with custom and generic plans, parameters
// and results in both formats, portals with row limits, several at once, pipelines that change data or fail,
// cursors. Each conversation is held with tiercache.mode = off and then, several times, with auto: the server
// must send the same bytes.
#include <iostream>

#include "tests/system/protocol_messages.hpp"

namespace {

using namespace tiercache::wire;
using tiercache::wire::sync;  // not that of unistd.h

// One round each: what is sent before the next answer is read to its end.
using Conversation = std::vector<Bytes>;

struct Answers {
    Bytes bytes;
    int errors = 0;

    bool operator==(const Answers&) const = default;
};

Answers hold(Connection& connection, const Conversation& rounds) {
    Answers answers;
    for (const Bytes& round : rounds) {
        for (const Bytes& answer : connection.ask(round)) {
            answers.bytes += answer;
            if (answer[0] == 'E') ++answers.errors;
        }
    }
    return answers;
}

struct Case {
    std::string name;
    Conversation rounds;
};

const char* const queries[] = {
    "SELECT id, name, amount, at, f FROM t ORDER BY id",
    "SELECT count(*), sum(amount) FROM t",
    "SELECT a.id, b.name FROM t a JOIN t b ON b.id = a.id + 1 ORDER BY a.id",
    "SELECT id, b, k, j::text, a FROM t WHERE id < 4 ORDER BY id",
    "SELECT FROM t",
    "SELECT id FROM t WHERE false",
    "SELECT g, repeat('x', 100) FROM generate_series(1, 300) g",
    "SELECT * FROM v ORDER BY id LIMIT 3",
    "SELECT 10 / (6 - id) FROM t ORDER BY id",
    "SELECT id FROM t EXCEPT SELECT 3",
    "SELECT id, name FROM t INTERSECT ALL SELECT id, name FROM t WHERE id < 5 ORDER BY name",
    "SELECT id FROM t UNION SELECT 99 ORDER BY 1",
    "SELECT name FROM t ORDER BY amount DESC, k",
};

// Of each query: all ways to ask for its rows.
void add_queries(std::vector<Case>& cases) {
    for (const char* sql : queries) {
        const Bytes p = parse("", sql);
        cases.push_back({std::string("simple: ") + sql, {simple(sql)}});
        cases.push_back(
            {std::string("extended: ") + sql, {p + bind("", "") + describe('P', "") + execute("") + sync()}});
        cases.push_back({std::string("binary: ") + sql,
                         {p + describe('S', "") + bind("", "", {{}, true}) + execute("") + sync()}});
        Conversation prepared{parse("s", sql) + describe('S', "s") + sync()};
        for (int i = 0; i < 7; ++i) prepared.push_back(bind("", "s") + execute("") + sync());
        prepared.push_back(close('S', "s") + sync());
        cases.push_back({std::string("prepared: ") + sql, prepared});
        cases.push_back({std::string("row limits: ") + sql,
                         {p + bind("p", "") + describe('P', "p") + execute("p", 2) + execute("p", 1) +
                          execute("p", 1000) + execute("p") + execute("p", 1) + close('P', "p") + sync()}});
        cases.push_back({std::string("given up: ") + sql, {p + bind("", "") + execute("", 1) + sync()}});
        cases.push_back({std::string("after it: ") + sql, {p + bind("", "") + execute("") + sync()}});
    }
}

void add_portals(std::vector<Case>& cases) {
    const Bytes rows = parse("", "SELECT id, name FROM t ORDER BY id");
    cases.push_back({"two portals in turn",
                     {rows + bind("p", "") + bind("q", "") + execute("p", 3) + execute("q", 2) +
                      execute("p", 0) + execute("q", 1) + execute("q", 0) + sync()}});
    cases.push_back({"a portal goes on after a change, with what it saw",
                     {simple("BEGIN"), rows + bind("p", "") + execute("p", 3) + sync(),
                      simple("UPDATE t SET name = 'changed' WHERE id > 3"), execute("p", 2) + sync(),
                      execute("p") + sync(), rows + bind("", "") + execute("") + sync(), simple("ROLLBACK"),
                      rows + bind("", "") + execute("") + sync()}});
    cases.push_back({"a portal over a savepoint that is rolled back",
                     {simple("BEGIN"), simple("SAVEPOINT s"), rows + bind("p", "") + execute("p", 3) + sync(),
                      simple("ROLLBACK TO s"), execute("p") + sync(), simple("ROLLBACK")}});
    Conversation made{parse("without", "SELECT id AS v FROM t WHERE id < 5 EXCEPT SELECT 3") + sync()};
    for (int i = 0; i < 3; ++i) made.push_back(bind("", "without") + execute("") + sync());
    made.push_back(simple("CREATE TABLE made AS EXECUTE without"));
    made.push_back(simple("ALTER TABLE made ADD COLUMN more text"));
    made.push_back(simple("SELECT v + 0, more || '' FROM made ORDER BY v"));
    made.push_back(simple("DROP TABLE made"));
    made.push_back(close('S', "without") + sync());
    cases.push_back({"a table made by a prepared statement", made});
    cases.push_back({"a portal over the drop of its table",
                     {simple("BEGIN; CREATE TABLE dropped AS SELECT 1 AS v; COMMIT; BEGIN"),
                      parse("", "SELECT v FROM dropped") + bind("p", "") + execute("p", 1) + sync(),
                      simple("DROP TABLE dropped"), simple("ROLLBACK"), simple("DROP TABLE dropped")}});
    Conversation held{parse("held", "SELECT id, name FROM t ORDER BY id") + sync()};
    for (int i = 0; i < 3; ++i) held.push_back(bind("", "held") + execute("") + sync());
    held.insert(held.end(), {simple("BEGIN"), bind("p", "held") + execute("p", 2) + sync(),
                             simple("TRUNCATE t"), simple("ROLLBACK"), simple("BEGIN"),
                             bind("p", "held") + execute("p") + close('P', "p") + sync(),
                             simple("TRUNCATE t"), simple("ROLLBACK"), close('S', "held") + sync()});
    cases.push_back({"a portal uses its tables until it ends", held});
    cases.push_back(
        {"cursors",
         {simple("BEGIN"), simple("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id"),
          simple("DECLARE s SCROLL CURSOR FOR SELECT id, name FROM t ORDER BY id"),
          simple("DECLARE n NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY id"),
          simple("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id"),
          simple("DECLARE b BINARY CURSOR FOR SELECT id FROM t ORDER BY id"), simple("FETCH 2 FROM c"),
          simple("FETCH LAST FROM s"), simple("FETCH BACKWARD 2 FROM s"), simple("MOVE ABSOLUTE 2 IN s"),
          simple("FETCH RELATIVE -1 FROM s"), simple("FETCH 3 FROM n"), simple("FETCH 2 FROM h"),
          simple("FETCH ALL FROM b"), execute("c", 2) + sync(), simple("COMMIT"), simple("FETCH ALL FROM h"),
          simple("FETCH BACKWARD 2 FROM h"), simple("CLOSE h")}});
    cases.push_back({"a cursor backwards where it may not",
                     {simple("BEGIN"), simple("DECLARE n NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY id"),
                      simple("FETCH 2 FROM n"), simple("FETCH BACKWARD 1 FROM n"), simple("ROLLBACK")}});
}

// What a portal answers is made when its first row is asked for, not when it is bound.
void add_settings_between_bind_and_execute(std::vector<Case>& cases) {
    const std::string sql =
        "SELECT id, ('2026-01-01 00:00+00'::timestamptz + id * '1 hour'::interval)::text FROM t ORDER BY id";
    const auto run_alone = [](const Bytes& statement) {
        return parse("", statement) + bind("", "") + execute("");
    };
    const Bytes set = run_alone("SET TimeZone = 'Asia/Tokyo'");
    const Bytes reset = run_alone("RESET TimeZone") + sync();
    // As a text that is new each time, and as a plan that runs again.
    cases.push_back({"TimeZone is set between Bind and Execute of a named portal",
                     {parse("", sql) + bind("p", "") + set + execute("p") + reset}});
    cases.push_back({"TimeZone is set between Bind and Execute of the unnamed portal",
                     {parse("set", "SET TimeZone = 'Asia/Tokyo'") + parse("", sql) + bind("", "") +
                      bind("z", "set") + execute("z") + execute("") + close('S', "set") + reset}});
    cases.push_back({"TimeZone is set by a portal that was bound before",
                     {parse("", "SELECT set_config('TimeZone', 'Asia/Tokyo', false)") + bind("z", "") +
                      parse("", sql) + bind("", "") + execute("z") + execute("") + reset}});
    for (const Bytes& portal : {Bytes(), Bytes("p")}) {
        Conversation prepared{parse("s", sql) + parse("set", "SET TimeZone = 'Asia/Tokyo'") + sync()};
        const Bytes usual = bind("", "s") + execute("") + sync();
        Bytes between = bind(portal, "s") + bind("z", "set") + execute("z");
        between.append(execute(portal, 2)).append(execute(portal)).append(reset);
        for (int i = 0; i < 7; ++i) prepared.push_back(usual);
        for (int i = 0; i < 3; ++i) prepared.insert(prepared.end(), {between, usual});
        prepared.push_back(close('S', "s") + close('S', "set") + sync());
        cases.push_back(
            {std::string("TimeZone is set between Bind and Execute of a prepared statement, portal '")
                 .append(portal)
                 .append("'"),
             prepared});
    }
    // What is compared is the answer to what is set by then.
    Conversation verified{run_alone("SET tiercache.verify = error") + sync(), parse("s", sql) + sync()};
    for (int i = 0; i < 7; ++i) verified.push_back(bind("", "s") + execute("") + sync());
    verified.push_back(parse("", sql) + bind("", "") + execute("") + sync());
    const Bytes set_in_between =
        parse("set", "SET TimeZone = 'Asia/Tokyo'") + bind("z", "set") + execute("z");
    for (const Bytes& portal : {bind("", "s"), parse("", sql) + bind("", "")}) {
        Bytes round = portal;
        verified.push_back(
            round.append(set_in_between).append(execute("")).append(close('S', "set")).append(reset));
    }
    verified.push_back(close('S', "s") + run_alone("RESET tiercache.verify") + sync());
    cases.push_back({"TimeZone is set before Execute of what is verified", verified});
    // Its rights were looked at when it was bound: to the table, to a view, to a function.
    const Bytes role = parse("set", "SET ROLE pg_monitor") + bind("z", "set");
    const Bytes no_role = close('S', "set") + run_alone("RESET ROLE") + sync();
    for (const std::string& asked : {sql, std::string("SELECT id, name, 'view' FROM v ORDER BY id"),
                                     std::string("SELECT id, only_mine(id) FROM t ORDER BY id")}) {
        const auto after = [&](const Bytes& portal, const Bytes& statement) {
            Bytes round = bind(portal, statement);
            return round.append(role).append(execute("z")).append(execute(portal)).append(no_role);
        };
        cases.push_back({std::string("a role without rights is set before Execute: ").append(asked),
                         {parse("", asked) + after("", "")}});
        Conversation prepared{parse("s", asked) + sync()};
        for (int i = 0; i < 7; ++i) prepared.push_back(bind("", "s") + execute("") + sync());
        prepared.insert(prepared.end(), {after("p", "s"), after("", "s"), close('S', "s") + sync()});
        cases.push_back({std::string("the same, prepared: ").append(asked), prepared});
    }
}

// By the function call message, which is no statement.
void add_function_call_between_bind_and_execute(std::vector<Case>& cases) {
    const std::string sql = "SELECT count(*), min('2026-01-01 00:00+00'::timestamptz)::text FROM t";
    constexpr std::uint32_t set_config = 2078;
    const Bytes call = call_function(set_config, {"TimeZone", "Asia/Tokyo", "f"});
    Conversation rounds{parse("s", sql) + sync()};
    for (int i = 0; i < 7; ++i) rounds.push_back(bind("", "s") + execute("") + sync());
    rounds.push_back(parse("", sql) + bind("", "") + execute("") + sync());
    for (const Bytes& portal : {bind("", "s"), parse("", sql) + bind("", "")}) {
        rounds.insert(rounds.end(), {simple("BEGIN"), portal + call, execute("") + sync(), simple("COMMIT"),
                                     simple("RESET TimeZone")});
    }
    rounds.push_back(close('S', "s") + sync());
    cases.push_back({"TimeZone is set by a function call between Bind and Execute", rounds});
}

// What asks whether a table is in use, under the unnamed portal of a query that reads it: before its first
// row, after some, after the last.
void add_changes_under_the_unnamed_portal(std::vector<Case>& cases) {
    const std::string sql = "SELECT count(*), max(name) FROM t UNION ALL SELECT id, name FROM t";
    for (const std::string& change : {std::string("TRUNCATE t"), std::string("DROP TABLE t CASCADE"),
                                      std::string("ALTER TABLE t ADD COLUMN more int"),
                                      std::string("SELECT empty_t()"), std::string("VACUUM t")}) {
        Conversation rounds{parse("s", sql) + parse("change", change) + sync()};
        for (int i = 0; i < 7; ++i) rounds.push_back(bind("", "s") + execute("") + sync());
        rounds.push_back(parse("", sql) + bind("", "") + execute("") + sync());
        for (const Bytes& portal : {bind("", "s"), parse("", sql) + bind("", "")}) {
            for (const Bytes& read : {Bytes(), execute("", 2), execute("")}) {
                Bytes round = portal;
                round.append(read).append(bind("z", "change")).append(execute("z")).append(execute(""));
                rounds.insert(rounds.end(), {simple("BEGIN"), round + sync(), simple("ROLLBACK")});
            }
        }
        rounds.push_back(close('S', "s") + close('S', "change") + sync());
        cases.push_back({change + " under the unnamed portal", rounds});
    }
}

// Functions are compiled, and labels read, when the first row is made; and only what the plan reads is in
// use.
void add_definitions_between_bind_and_execute(std::vector<Case>& cases) {
    struct Change {
        const char* query;
        const char* change;
    };
    const Change changes[] = {
        {"SELECT id, k::text FROM t WHERE id < 4 ORDER BY id",
         "ALTER TYPE color RENAME VALUE 'green' TO 'blue'"},
        {"SELECT id, doubled(id) FROM t WHERE id < 4 ORDER BY id",
         "CREATE OR REPLACE FUNCTION doubled(id int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN "
         "RETURN "
         "''new '' || 2 * id; END'"},
        {"SELECT id, doubled(id) FROM t WHERE id < 4 ORDER BY id", "DROP FUNCTION doubled"},
        {"SELECT id, count_u(id) FROM t WHERE id < 4 ORDER BY id", "TRUNCATE u"},
        {"SELECT id, count_u(id) FROM t WHERE id < 4 ORDER BY id", "DROP TABLE u"},
        {"SELECT id, count_u(id) FROM t WHERE id < 4 ORDER BY id", "ALTER TABLE u RENAME TO w"},
        {"SELECT id, count_u(id) FROM t WHERE id < 4 ORDER BY id", "CREATE TEMP TABLE u (id int)"},
        {"SELECT t.id FROM t LEFT JOIN u ON u.id = t.id WHERE t.id < 4 ORDER BY 1", "TRUNCATE u"},
        {"SELECT id FROM t WHERE false UNION ALL SELECT id FROM u WHERE id < 3", "TRUNCATE t"},
        {"SELECT count(*) FROM moved", "ALTER TABLE moved DETACH PARTITION moved_1"},
        {"SELECT count(*) FROM moved", "TRUNCATE moved_1"},
        {"SELECT count(*) FROM moved", "DROP TABLE moved_1"},
    };
    for (const Change& c : changes) {
        Conversation rounds{parse("s", c.query) + parse("change", c.change) + sync()};
        for (int i = 0; i < 7; ++i) rounds.push_back(bind("", "s") + execute("") + sync());
        rounds.push_back(parse("", c.query) + bind("", "") + execute("") + sync());
        for (const Bytes& portal : {Bytes(), Bytes("p")}) {
            for (const Bytes& opened : {bind(portal, "s"), parse("", c.query) + bind(portal, "")}) {
                Bytes round = opened;
                round.append(bind("z", "change")).append(execute("z")).append(execute(portal));
                rounds.insert(rounds.end(), {simple("BEGIN"), round + sync(), simple("ROLLBACK")});
            }
        }
        rounds.push_back(close('S', "s") + close('S', "change") + sync());
        cases.push_back({std::string(c.change) + " between Bind and Execute of " + c.query, rounds});
    }
    // The plan sorts first, and calls the functions for each row that is fetched.
    const Bytes declare =
        simple("DECLARE c CURSOR FOR SELECT id, doubled(id), count_u(id) FROM t ORDER BY name LIMIT 9");
    for (const char* change : {changes[1].change, "TRUNCATE u", "CREATE TEMP TABLE u (id int)"}) {
        cases.push_back({std::string(change) + " between two rows of a cursor",
                         {simple("BEGIN"), declare, simple("FETCH ALL FROM c"), simple("COMMIT"),
                          simple("BEGIN"), declare, simple("FETCH 2 FROM c"), simple(change),
                          simple("FETCH 2 FROM c"), simple("ROLLBACK")}});
    }
}

// PostgreSQL computes rows when they are asked for, with the settings and functions of that moment.
void add_changes_between_rows(std::vector<Case>& cases) {
    struct Change {
        const char* query;
        const char* change;
    };
    const char* const time_zone = "SET TimeZone = 'Asia/Tokyo'";
    const char* const times = "SELECT a.id, a.at::text FROM t a JOIN t b ON b.id = a.id";
    const Change changes[] = {
        {"SELECT id, at::text FROM t", time_zone},
        {times, time_zone},
        {"SELECT id, at::text FROM t ORDER BY name", time_zone},
        {"SELECT id, at FROM t", time_zone},
        {"SELECT id, f::text FROM t", "SET extra_float_digits = -3"},
        {"SELECT id, textin(float8out(f)) FROM t", "SET extra_float_digits = -3"},
        {"SELECT id, quote_ident(repeat('a', id)) FROM t", "SET quote_all_identifiers = on"},
        {"SELECT id, b::text FROM t", "SET bytea_output = 'escape'"},
        {"SELECT id, current_user::text FROM t", "SET ROLE limited"},
        {"SELECT id, k::text FROM t", "ALTER TYPE color RENAME VALUE 'green' TO 'blue'"},
        {"SELECT id, count_u(id) FROM t", "TRUNCATE u"},
        {"SELECT id, count_u(id) FROM t", "UPDATE u SET id = id"},
        {"SELECT id, name FROM t", "UPDATE t SET name = 'changed'"},
        {"SELECT id, name FROM t", "SET extra_float_digits = -3"},
    };
    for (const auto& [query, change] : changes) {
        Conversation rounds{parse("s", query) + sync()};
        for (int i = 0; i < 7; ++i) rounds.push_back(bind("", "s") + execute("") + sync());
        rounds.push_back(parse("", query) + bind("", "") + execute("") + sync());
        for (const Bytes& portal : {Bytes(), Bytes("p")}) {
            for (const Bytes& opened : {bind(portal, "s"), parse("", query) + bind(portal, "")}) {
                // The change does not take the unnamed portal's place.
                Bytes round = parse("change", change) + opened + execute(portal, 2);
                round.append(bind("z", "change")).append(execute("z")).append(execute(portal, 3));
                round.append(execute(portal)).append(close('S', "change"));
                rounds.insert(rounds.end(), {simple("BEGIN"), round + sync(), simple("ROLLBACK")});
            }
        }
        rounds.push_back(close('S', "s") + sync());
        cases.push_back({std::string(change) + " between two rows of " + query, rounds});
    }
    for (const char* kind : {"CURSOR", "SCROLL CURSOR", "CURSOR WITH HOLD"}) {
        const Bytes declare = simple(std::string("DECLARE c ") + kind + " FOR " + times);
        cases.push_back(
            {std::string("TimeZone is set between two rows of a ") + kind,
             {simple("BEGIN"), declare, simple("FETCH ALL FROM c"), simple("ROLLBACK"), simple("BEGIN"),
              declare, simple("FETCH 2 FROM c"), simple("SET LOCAL TimeZone = 'Asia/Tokyo'"),
              simple("FETCH 2 FROM c"), simple("COMMIT"), simple("FETCH ALL FROM c"), simple("CLOSE ALL")}});
    }
    for (const char* call :
         {"SELECT * FROM times_of_loop('SELECT id, at::text FROM t')",
          "SELECT * FROM times_of_loop('SELECT id, f::text FROM t')", "SELECT * FROM times_of_static_loop()",
          "SELECT a, tokyo_from(a) FROM (SELECT times() a OFFSET 0) x",
          "SELECT a, emptied_from(a, 3) FROM (SELECT ids() a OFFSET 0) x"}) {
        Conversation rounds;
        for (int i = 0; i < 3; ++i) {
            rounds.insert(rounds.end(), {simple("SELECT times()"), simple("SELECT ids()"), simple("BEGIN"),
                                         simple(call), simple("ROLLBACK")});
        }
        cases.push_back({call, rounds});
    }
}

// Those whose plan shows the scan of a table, and those whose plan hides it.
void add_cursors(std::vector<Case>& cases) {
    for (const std::string& sql :
         {std::string("SELECT id, name FROM t"), std::string("SELECT id, name FROM t LIMIT 5"),
          std::string("SELECT id, name FROM t ORDER BY name DESC"),
          std::string("SELECT id, name FROM (SELECT * FROM t WHERE id > 2 OFFSET 1) s"),
          std::string("SELECT a.id, b.name FROM t a JOIN t b ON b.id = a.id + 1 ORDER BY b.name"),
          std::string("SELECT id, name FROM t UNION ALL SELECT id, name FROM t"),
          std::string("SELECT DISTINCT name FROM t ORDER BY name"),
          std::string("SELECT id FROM t UNION ALL SELECT id FROM u ORDER BY id"),
          std::string("SELECT count(*) FROM t GROUP BY id > 4")}) {
        Conversation rounds;
        for (const char* kind : {"", "SCROLL", "NO SCROLL"}) {
            const std::string declare = std::string("DECLARE c ") + kind + " CURSOR FOR " + sql;
            rounds.insert(rounds.end(), {simple("BEGIN"), simple(declare), simple("FETCH ALL FROM c"),
                                         simple("FETCH BACKWARD 2 FROM c"), simple("ROLLBACK")});
            rounds.insert(rounds.end(),
                          {simple("BEGIN"), simple(declare), simple("FETCH 2 FROM c"),
                           simple("UPDATE t SET f = 0 WHERE CURRENT OF c RETURNING id"), simple("ROLLBACK")});
        }
        cases.push_back({"cursors of " + sql, rounds});
    }
}

void add_pipelines(std::vector<Case>& cases) {
    const auto run = [](const Bytes& sql) { return parse("", sql) + bind("", "") + execute(""); };
    const Bytes read = run("SELECT id, name FROM t ORDER BY id");
    cases.push_back({"pipeline: reads", {read + read + run("SELECT count(*) FROM t") + read + sync()}});
    cases.push_back(
        {"pipeline: reads around a change",
         {read + run("UPDATE t SET name = 'x' WHERE id = 2") + read + read + sync(), read + sync(),
          run("UPDATE t SET name = 'name 2' WHERE id = 2") + sync(), read + sync()}});
    cases.push_back({"pipeline: an error undoes the change and skips the rest",
                     {read + run("DELETE FROM t WHERE id = 3") + read +
                          run("SELECT 1 / (id - 1) FROM t ORDER BY id") + read + sync(),
                      read + sync()}});
    cases.push_back({"pipeline: ANALYZE and a definition in one transaction",
                     {run("SELECT count(*) FROM parent") + sync(),
                      run("ANALYZE parent") + run("ALTER TABLE child INHERIT parent") + sync(),
                      run("SELECT count(*) FROM parent") + sync(), run("ANALYZE parent") + sync(),
                      run("SELECT count(*) FROM parent") + sync(),
                      run("ANALYZE parent") + run("ALTER TABLE child NO INHERIT parent") + sync(),
                      run("SELECT count(*) FROM parent") + sync()}});
    cases.push_back({"statements in one text",
                     {simple("SELECT count(*) FROM t; UPDATE t SET f = f; SELECT count(*) FROM t; SELECT id "
                             "FROM t ORDER BY id LIMIT 2")}});
    cases.push_back({"a statement prepared before a definition",
                     {parse("d", "SELECT * FROM parent ORDER BY 1") + sync(),
                      bind("", "d") + execute("") + sync(), simple("ALTER TABLE parent ADD COLUMN more int"),
                      bind("", "d") + execute("") + sync(), simple("ALTER TABLE parent DROP COLUMN more"),
                      bind("", "d") + execute("") + sync(), close('S', "d") + sync()}});
}

void add_parameters(std::vector<Case>& cases) {
    struct Type {
        const char* name;
        const char* value;
    };
    const Type types[] = {
        {"bool", "t"},
        {"int2", "-7"},
        {"int4", "7"},
        {"int8", "9000000000"},
        {"float4", "1.5"},
        {"float8", "-0"},
        {"float8", "0"},
        {"float8", "NaN"},
        {"numeric", "1.50"},
        {"numeric", "1.5"},
        {"text", "Größe"},
        {"varchar", ""},
        {"char(4)", "ab"},
        {"\"char\"", "x"},
        {"name", "a name"},
        {"bytea", "\\x00ff"},
        {"date", "2001-02-03"},
        {"date", "today"},
        {"time", "04:05"},
        {"timetz", "04:05+02"},
        {"timestamp", "2001-02-03 04:05"},
        {"timestamptz", "2001-02-03 04:05+02"},
        {"interval", "1 mon 2 days"},
        {"money", "$1.50"},
        {"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
        {"json", "{\"a\": 1}"},
        {"jsonb", "{\"a\": 1.0}"},
        {"xml", "<a/>"},
        {"inet", "10.0.0.1/8"},
        {"bit(3)", "101"},
        {"point", "(1,2)"},
        {"int[]", "{1,NULL,3}"},
        {"text[]", "{{a,b},{c,\"d e\"}}"},
        {"int4range", "[1,5)"},
        {"int4multirange", "{[1,3),[5,7)}"},
        {"color", "green"},
        {"pair", "(1,\"x y\")"},
        {"small", "7"},
        {"tsvector", "a b"},
        {"tsquery", "a & b"},
        {"regclass", "t"},
        {"oid", "5"},
    };
    for (const Type& type : types) {
        const Bytes statement =
            parse("s", std::string("SELECT id, $1::") + type.name + " AS p FROM t WHERE id < 3 ORDER BY id");
        Conversation rounds{statement + describe('S', "s") + sync()};
        for (int i = 0; i < 7; ++i)
            rounds.push_back(bind("", "s", {{type.value}, i % 2 == 1}) + execute("") + sync());
        rounds.push_back(bind("", "s", {{nullptr}, false}) + execute("") + sync());
        rounds.push_back(bind("", "s", {{type.value}, false}) + execute("", 1) + sync());
        rounds.push_back(close('S', "s") + sync());
        cases.push_back({std::string("parameter of type ") + type.name + ": " + type.value, rounds});
    }
    Conversation binary{
        parse("s", "SELECT id, $1 AS p, $2::text AS q FROM t WHERE id = $3::int4 ORDER BY id") + sync()};
    for (const char id : {'\1', '\2', '\1', '\3', '\2', '\1', '\1'}) {
        binary.push_back(bind_binary("s", {"p", Bytes("q\xc3\xb6"), Bytes{'\0', '\0', '\0', id}}) +
                         execute("") + sync());
    }
    binary.push_back(bind_binary("s", {"p", "q", "bad"}) + execute("") + sync());
    binary.push_back(close('S', "s") + sync());
    cases.push_back({"parameters in binary", binary});
}

// The rows of a portal whose settings change between its calls, and change back, are no answer to anything.
bool settings_in_a_portal(Connection& off, Connection& automatic) {
    const std::string sql =
        "SELECT id, ('2026-01-01 00:00+00'::timestamptz + id * '1 hour'::interval)::text FROM t";
    (void)hold(automatic, {simple("BEGIN"), parse("", sql) + bind("p", "") + execute("p", 1) + sync(),
                           simple("SET TimeZone = 'Asia/Tokyo'"), execute("p", 1) + sync(),
                           simple("RESET TimeZone"), execute("p") + sync(), simple("COMMIT")});
    return hold(automatic, {simple(sql)}) == hold(off, {simple(sql)});
}

long hits(Connection& connection) {
    for (const Bytes& answer : connection.query("SELECT hits FROM tiercache.stats")) {
        if (answer[0] == 'D') return std::stol(answer.substr(11));
    }
    throw std::runtime_error("no statistics");
}

void check(bool good, const std::string& name) {
    std::cout << (good ? "ok - " : "not ok - ") << name << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: protocol SOCKET USER DATABASE\n";
        return 2;
    }
    try {
        std::vector<Case> cases;
        add_queries(cases);
        add_portals(cases);
        add_settings_between_bind_and_execute(cases);
        add_function_call_between_bind_and_execute(cases);
        add_changes_under_the_unnamed_portal(cases);
        add_definitions_between_bind_and_execute(cases);
        add_changes_between_rows(cases);
        add_cursors(cases);
        add_pipelines(cases);
        add_parameters(cases);
        Connection off(argv[1], argv[2], argv[3]);
        Connection automatic(argv[1], argv[2], argv[3]);
        (void)off.query("SET tiercache.mode = off");
        (void)automatic.query("SET tiercache.mode = auto; SET tiercache.min_cost = 0");
        const long before = hits(off);
        int errors = 0;
        for (const Case& c : cases) {
            const Answers expected = hold(off, c.rounds);
            bool same = true;
            for (int i = 0; i < 3; ++i) same = hold(automatic, c.rounds) == expected && same;
            errors += expected.errors;
            check(same, c.name);
        }
        check(settings_in_a_portal(off, automatic), "settings that change in a portal");
        const long found = hits(off) - before;
        std::cout << "# " << cases.size() << " conversations, " << errors << " errors, " << found
                  << " hits\n";
        check(found > 400, "the cache answered");
    } catch (const std::exception& e) {
        std::cout << "not ok - " << e.what() << '\n';
        return 1;
    }
    return 0;
}
