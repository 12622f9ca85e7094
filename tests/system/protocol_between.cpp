// protocol_between SOCKET USER DATABASE
// What other sessions do between Bind and Execute of a hit: PostgreSQL would compute its rows only then.
#include <chrono>
#include <iostream>
#include <thread>

#include "tests/system/protocol_messages.hpp"

namespace {

using namespace tiercache::wire;
using tiercache::wire::sync;  // not that of unistd.h

struct Server {
    std::string socket;
    std::string user;
    std::string database;

    [[nodiscard]] Connection connect() const { return {socket, user, database}; }
};

constexpr const char* serialization_failure = "a serialization failure";

Bytes rows_of(const std::vector<Bytes>& messages) {
    Bytes rows;
    for (const Bytes& message : messages) {
        if (message[0] == 'D') rows += message;
        if (message[0] == 'E' && message.find("C40001") != Bytes::npos) return serialization_failure;
        if (message[0] == 'E') throw std::runtime_error("an error: " + message.substr(5));
    }
    return rows;
}

// As a text that is planned at each Bind, and as a plan that runs again.
struct Way {
    const char* name;
    Bytes bind_it;
};

std::vector<Way> prepare(Connection& connection, const std::string& sql) {
    (void)connection.ask(parse("s", sql) + parse("set", "SET TimeZone = 'Asia/Tokyo'") + sync());
    return {{"a text", parse("", sql) + bind("", "")}, {"a prepared statement", bind("", "s")}};
}

void warm(Connection& connection, const Way& way) {
    for (int i = 0; i < 7; ++i) (void)rows_of(connection.ask(way.bind_it + execute("") + sync()));
}

void check(bool good, const std::string& name) {
    std::cout << (good ? "ok - " : "not ok - ") << name << '\n';
}

// The postmaster signals all sessions before it starts the next: one that has the setting is the proof.
void set_time_zone_of_all(const Server& server, const std::string& zone) {
    Connection other = server.connect();
    (void)other.query(zone.empty() ? "ALTER SYSTEM RESET TimeZone"
                                   : "ALTER SYSTEM SET TimeZone = '" + zone + "'");
    (void)other.query("SELECT pg_reload_conf()");
    const std::string wanted = zone.empty() ? "SELECT current_setting('TimeZone') <> 'Asia/Tokyo'"
                                            : "SELECT current_setting('TimeZone') = '" + zone + "'";
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (rows_of(server.connect().query(wanted)).find('t') == Bytes::npos) {
        if (std::chrono::steady_clock::now() > end) throw std::runtime_error("the setting did not come");
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void reload_configuration(const Server& server, Connection& cached) {
    const std::string sql = "SELECT count(*), min('2026-01-01 00:00+00'::timestamptz)::text FROM moved";
    for (const Way& way : prepare(cached, sql)) {
        warm(cached, way);
        (void)cached.ask_until('2', way.bind_it + flush());
        set_time_zone_of_all(server, "Asia/Tokyo");
        const Bytes late = rows_of(cached.ask(execute("") + sync()));
        const Bytes expected = rows_of(server.connect().query(sql));
        set_time_zone_of_all(server, "");
        check(late == expected && late != rows_of(server.connect().query(sql)),
              std::string("the configuration is read between Bind and Execute of ") + way.name);
    }
    (void)cached.ask(close('S', "s") + close('S', "set") + sync());
}

// TRUNCATE empties a partition for old snapshots, too: no snapshot may be older than the lock on it, and hits
// in transaction blocks take that. `before` is what the block begins with, none without a block; `between`
// runs after the portal's Bind.
void move_to_other_partition(const Server& server, Connection& cached, const std::string& sql,
                             const std::string& before, const std::string& between) {
    Connection other = server.connect();
    (void)other.query("SET lock_timeout = '300ms'");
    for (const Way& way : prepare(cached, sql)) {
        warm(cached, way);
        if (!before.empty()) {
            for (const Bytes& statement : {Bytes("BEGIN"), before}) (void)rows_of(cached.query(statement));
        }
        (void)cached.ask_until('2', way.bind_it + flush());
        // All rows go from one to the other, in one transaction: whoever sees a part of it misses them, or
        // sees them twice.
        bool moved = true;
        for (const Bytes& answer :
             other.query("BEGIN; INSERT INTO moved SELECT 2, id FROM moved_1; TRUNCATE moved_1; COMMIT")) {
            if (answer[0] == 'E') moved = false;
        }
        if (!moved) (void)other.query("ROLLBACK");
        const Bytes late = rows_of(cached.ask(parse("between", between) + bind("z", "between") +
                                              execute("z") + execute("") + sync()));
        (void)cached.query("ROLLBACK; SET tiercache.mode = off");
        (void)cached.ask(close('S', "between") + sync());
        const Bytes expected = rows_of(cached.query(
            between.find("TimeZone") != Bytes::npos ? Bytes(between).append("; ").append(sql) : sql));
        (void)cached.query("SET tiercache.mode = auto; RESET TimeZone");
        (void)other.query(
            "BEGIN; TRUNCATE moved; INSERT INTO moved SELECT 1, g FROM generate_series(1, 20) g; COMMIT");
        const bool may_fail = before.empty() && between.starts_with("INSERT");
        // What has a plan of its own, and what has written, has locked them in any case.
        const bool as_locked = before.empty() || !moved;
        check(as_locked && (late == expected || (may_fail && late == serialization_failure)),
              std::string("rows move to another partition, after '")
                  .append(before)
                  .append("', before '")
                  .append(between)
                  .append("', under ")
                  .append(way.name)
                  .append(moved ? "" : ", which has locked them"));
    }
    (void)cached.ask(close('S', "s") + close('S', "set") + sync());
}

// The start of a plan, for a statement that may ask which tables are in use, fails in a subtransaction: the
// portal outlives it.
void fail_to_start_late(const Server& server, Connection& cached) {
    const std::string sql = "SELECT count(doubled(id)) FROM u";
    Connection other = server.connect();
    const Bytes expected = rows_of(cached.query(sql));
    for (const Way& way : prepare(cached, sql)) {
        (void)cached.query("SET ROLE limited");
        warm(cached, way);
        (void)cached.query("BEGIN");
        (void)cached.ask_until('2', way.bind_it + flush());
        (void)other.query("REVOKE EXECUTE ON FUNCTION doubled FROM PUBLIC");
        (void)rows_of(cached.ask_until('C', parse("try", "SELECT try_empty(), try_empty()") +
                                                bind("z", "try") + execute("z") + flush()));
        (void)other.query("GRANT EXECUTE ON FUNCTION doubled TO PUBLIC");
        const Bytes late = rows_of(cached.ask(execute("") + close('S', "try") + sync()));
        bool warned = false;
        for (const Bytes& answer : cached.query("COMMIT")) warned |= answer[0] == 'N';
        (void)cached.query("RESET ROLE");
        check(late == expected && !warned, std::string("a plan fails to start under ") + way.name);
    }
    (void)cached.ask(close('S', "s") + close('S', "set") + sync());
}

// What the portal reads is not destroyed because its plan does not start.
void fail_to_guard(const Server& server, Connection& cached) {
    const std::string sql = "SELECT id, count_u(id) FROM counted_for";
    Connection other = server.connect();
    for (const Way& way : prepare(cached, sql)) {
        warm(cached, way);
        (void)cached.query("BEGIN");
        (void)cached.ask_until('2', way.bind_it + flush());
        (void)other.query("ALTER FUNCTION count_u(int) RENAME TO count_w; DROP FUNCTION count_w(int)");
        bool failed = false;
        for (const Bytes& answer :
             cached.ask(parse("try", "TRUNCATE counted_for") + bind("z", "try") + execute("z") + sync())) {
            failed |= answer[0] == 'E';
        }
        (void)cached.query("COMMIT");
        (void)cached.ask(close('S', "try") + sync());
        (void)other.query(
            "CREATE FUNCTION count_u(id int) RETURNS bigint LANGUAGE plpgsql STABLE SET "
            "tiercache.depends_on_settings = '' "
            "AS $$ BEGIN RETURN (SELECT count(*) FROM u); END $$");
        check(failed, std::string("a table is in use though its plan can't start, by ") + way.name);
    }
    (void)cached.ask(close('S', "s") + close('S', "set") + sync());
}

// What comes between Bind and Execute, by whom, and how many rows are asked for.
struct Between {
    std::string sql;
    std::string before;
    std::string by_other;
    std::vector<std::string> own;
    std::uint32_t limit = 0;
    std::string undo = {};  // what the other did
    bool may_fail = false;
};

Bytes answer_of(Connection& other, Connection& connection, const Between& between, const Way& way) {
    (void)connection.query("BEGIN");
    (void)connection.query(between.before);
    (void)connection.ask_until('2', way.bind_it + flush());
    if (!between.by_other.empty()) (void)other.query(between.by_other);
    Bytes messages;
    // By a portal with a name: another unnamed one would close the one that waits.
    for (const std::string& own : between.own) {
        messages += parse("", own) + bind("z", "") + execute("z") + close('P', "z");
    }
    Bytes rows = rows_of(connection.ask(messages + execute("", between.limit) + sync()));
    (void)connection.query("ROLLBACK");
    if (!between.undo.empty()) (void)other.query(between.undo);
    return rows;
}

// Nothing of this has anything to do with the rows that PostgreSQL returns, or only as PostgreSQL has it.
void change_between(const Server& server, Connection& cached) {
    Connection other = server.connect();
    const std::string text = "SELECT id, to_timestamp(id)::text FROM moved";
    const std::string of_parent = "SELECT v, to_timestamp(v)::text FROM parent";
    const std::string keep = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    const std::string tokyo = "SET TimeZone = 'Asia/Tokyo'";
    const std::string trigger =
        "CREATE TRIGGER tr BEFORE INSERT ON moved_1 FOR EACH ROW EXECUTE FUNCTION "
        "suppress_redundant_updates_trigger()";
    const std::vector<Between> all = {
        {text, "", "", {"GRANT SELECT ON moved_1 TO limited", tokyo}},
        {text, "", "", {"ALTER TABLE moved_1 RENAME TO moved_one", tokyo}},
        {text, "", "", {"ALTER TABLE moved DETACH PARTITION moved_1"}, 2},
        {text, "", "", {trigger, tokyo}},
        {text, keep, "GRANT SELECT ON moved_1 TO limited", {tokyo}},
        {text, keep, "ALTER TABLE moved_1 SET (fillfactor = 90)", {tokyo}},
        {text, "", "INSERT INTO moved VALUES (1, 99)", {tokyo}, 0, "DELETE FROM moved WHERE id = 99"},
        {of_parent, "", "CREATE TABLE heir () INHERITS (parent)", {tokyo}, 0, "DROP TABLE heir"},
        {of_parent,
         "",
         "ALTER TABLE child INHERIT parent",
         {tokyo},
         0,
         "ALTER TABLE child NO INHERIT parent",
         true},
        {of_parent,
         keep,
         "ALTER TABLE child INHERIT parent",
         {tokyo},
         0,
         "ALTER TABLE child NO INHERIT parent",
         true},
        {"SELECT age(to_timestamp(id), timestamptz '2001-02-28 23:00+00') FROM u", "", "", {tokyo}},
        {"SELECT to_timestamp(id) AT TIME ZONE 'IST' FROM u",
         "",
         "",
         {"SET timezone_abbreviations = 'India'"}},
        {"SELECT to_timestamp(id)::timestamp AT TIME ZONE 'IST' FROM u",
         "",
         "",
         {"SET timezone_abbreviations = 'India'"}},
        {"SELECT to_tsvector('cfg', 'running dogs ' || id) FROM u",
         "",
         "",
         {"ALTER TEXT SEARCH CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH english_stem"}},
        {"SELECT to_tsvector('running dogs ' || id) FROM u",
         "",
         "",
         {"ALTER TEXT SEARCH CONFIGURATION cfg ALTER MAPPING FOR asciiword WITH english_stem"}},
    };
    for (const Between& between : all) {
        for (const Way& way : prepare(cached, between.sql)) {
            warm(cached, way);
            const Bytes late = answer_of(other, cached, between, way);
            (void)cached.query("SET tiercache.mode = off");
            const Bytes expected = answer_of(other, cached, between, way);
            (void)cached.query("SET tiercache.mode = auto");
            const bool may_differ = between.may_fail && late == serialization_failure;
            check(late == expected || may_differ,
                  std::string("'")
                      .append(between.by_other.empty() ? between.own.front() : between.by_other)
                      .append("' comes between Bind and Execute of ")
                      .append(between.sql)
                      .append(", ")
                      .append(way.name));
        }
        (void)cached.ask(close('S', "s") + close('S', "set") + sync());
    }
}

// Rows that a child has, and then its parent: who misses them has seen neither moment.
struct ChildGoes {
    std::string how;
    std::string own;
    bool may_fail;
};

void lose_child(const Server& server, Connection& cached) {
    const std::string sql = "SELECT v, to_timestamp(v)::text FROM heirs ORDER BY v";
    const std::string tokyo = "SET TimeZone = 'Asia/Tokyo'";
    const std::string write = "INSERT INTO noted VALUES (1)";
    Connection other = server.connect();
    (void)other.query("SET lock_timeout = '300ms'");  // a plan that runs again has locked it
    for (const ChildGoes& goes : {ChildGoes{"DROP TABLE heir", tokyo, false},
                                  ChildGoes{"ALTER TABLE heir NO INHERIT heirs", tokyo, false},
                                  ChildGoes{"DROP TABLE heir", write, true},
                                  ChildGoes{"ALTER TABLE heir NO INHERIT heirs", write, true}}) {
        (void)other.query(
            "CREATE TABLE heirs (v int); CREATE TABLE heir () INHERITS (heirs);"
            "INSERT INTO heir SELECT generate_series(1, 5)");
        const Bytes expected = rows_of(server.connect().query(std::string(tokyo).append("; ").append(sql)));
        for (const Way& way : prepare(cached, sql)) {
            warm(cached, way);
            (void)cached.ask_until('2', way.bind_it + flush());
            (void)other.query(std::string("BEGIN; INSERT INTO heirs SELECT v FROM heir; ")
                                  .append(goes.how)
                                  .append("; COMMIT"));
            (void)other.query("ROLLBACK");
            (void)other.query("ANALYZE heirs");
            const Bytes late =
                rows_of(cached.ask(parse("", goes.own) + bind("y", "") + execute("y") + parse("", tokyo) +
                                   bind("z", "") + execute("z") + execute("") + sync()));
            (void)cached.query("RESET TimeZone");
            check(late == expected || (goes.may_fail && late == serialization_failure),
                  std::string("'")
                      .append(goes.how)
                      .append("' after ")
                      .append(way.name)
                      .append(", before '")
                      .append(goes.own)
                      .append("'"));
            (void)other.query(
                "DROP TABLE IF EXISTS heir; TRUNCATE heirs; CREATE TABLE heir () INHERITS (heirs);"
                "INSERT INTO heir SELECT generate_series(1, 5)");
        }
        (void)cached.ask(close('S', "s") + close('S', "set") + sync());
        (void)other.query("DROP TABLE heirs CASCADE; DROP TABLE IF EXISTS heir");
    }
}

// What others write after Bind is not in the answer, whatever they define: outside of a block, too.
void keep_snapshot(const Server& server, Connection& cached) {
    const std::string sql = "SELECT id, to_timestamp(id)::text FROM u";
    Connection other = server.connect();
    for (const char* define :
         {"CREATE ROLE passing; DROP ROLE passing", "ALTER TABLE u SET (fillfactor = 90)"}) {
        for (const Way& way : prepare(cached, sql)) {
            warm(cached, way);
            const Bytes expected = rows_of(server.connect().query("SET TimeZone = 'Asia/Tokyo'; " + sql));
            (void)cached.ask_until('2', way.bind_it + flush());
            (void)other.query("SET lock_timeout = '300ms'; INSERT INTO u VALUES (777)");
            (void)other.query(define);
            const Bytes late = rows_of(cached.ask(bind("z", "set") + execute("z") + execute("") + sync()));
            (void)other.query("DELETE FROM u WHERE id = 777; ALTER TABLE u RESET (fillfactor)");
            (void)cached.query("RESET TimeZone");
            check(late == expected,
                  std::string("'").append(define).append("' after the Bind of ").append(way.name));
        }
        (void)cached.ask(close('S', "s") + close('S', "set") + sync());
    }
}

void wait_for_lock_of(Connection& connection, const std::string& statement) {
    std::string waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = '";
    waits.append(statement).append("'");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (rows_of(connection.query(waits)).find('1', 7) == Bytes::npos) {
        if (std::chrono::steady_clock::now() > end) throw std::runtime_error(statement + " does not wait");
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

// It waits for whoever has read the partition, and has told already that it will go.
void detach_concurrently(const Server& server, Connection& cached) {
    const std::string sql = "SELECT id, to_timestamp(id)::text FROM moved";
    const std::string detach = "ALTER TABLE moved DETACH PARTITION moved_2 CONCURRENTLY";
    Connection other = server.connect();
    Connection third = server.connect();
    for (const Way& way : prepare(cached, sql)) {
        warm(cached, way);
        (void)cached.query("BEGIN");
        (void)cached.ask_until('2', way.bind_it + flush());
        std::thread detacher([&] { (void)other.query(detach); });
        wait_for_lock_of(third, detach);
        const Bytes late = rows_of(cached.ask(bind("z", "set") + execute("z") + execute("") + sync()));
        (void)cached.query("ROLLBACK");
        detacher.join();
        (void)other.query("ALTER TABLE moved ATTACH PARTITION moved_2 FOR VALUES IN (2)");
        const Bytes expected = rows_of(third.query("SET TimeZone = 'Asia/Tokyo'; " + sql));
        check(late == expected, std::string("a partition is being detached after the Bind of ") + way.name);
    }
    (void)cached.ask(close('S', "s") + close('S', "set") + sync());
}

// PostgreSQL checks rights when a portal is started.
void revoke_rights(const Server& server, Connection& cached) {
    Connection other = server.connect();
    const std::string sql = "SELECT count(*), min('2026-01-01 00:00+00'::timestamptz)::text FROM u";
    for (const std::string& between :
         {std::string("SET my.setting = 1"), std::string("SET TimeZone = 'Asia/Tokyo'"),
          std::string("SELECT 1"), std::string("CREATE TEMP TABLE w (id int)")}) {
        for (const Way& way : prepare(cached, sql)) {
            (void)cached.query("SET ROLE limited");
            warm(cached, way);
            (void)cached.ask_until('2', way.bind_it + flush());
            (void)other.query("REVOKE SELECT ON u FROM limited");
            bool good = true;
            for (const Bytes& answer :
                 cached.ask(parse("between", between) + bind("z", "between") + execute("z") + execute("") +
                            close('S', "between") + sync())) {
                if (answer[0] == 'E') good = false;
            }
            (void)other.query("GRANT SELECT ON u TO limited");
            (void)cached.query("RESET ROLE; RESET TimeZone; DROP TABLE IF EXISTS w");
            check(good, std::string("rights are taken after the Bind of ")
                            .append(way.name)
                            .append(", before ")
                            .append(between));
        }
        (void)cached.ask(close('S', "s") + close('S', "set") + sync());
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: protocol_between SOCKET USER DATABASE\n";
        return 2;
    }
    try {
        const Server server{argv[1], argv[2], argv[3]};
        Connection cached = server.connect();
        (void)cached.query("SET tiercache.mode = auto; SET tiercache.min_cost = 0");
        reload_configuration(server, cached);
        const std::string rows = "SELECT count(*) FROM moved";
        const std::string written =
            "SELECT count(*), min('2026-01-01 00:00+00'::timestamptz)::text FROM moved";
        for (const std::string& before : {std::string(), std::string("SELECT 1"),
                                          std::string("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")}) {
            for (const std::string& between :
                 {std::string("SET my.setting = 1"), std::string("SELECT WHERE false"),
                  std::string("INSERT INTO noted VALUES (1)")}) {
                move_to_other_partition(server, cached, rows, before, between);
                move_to_other_partition(server, cached, written, before, between);
            }
            move_to_other_partition(server, cached, written, before, "SET TimeZone = 'Asia/Tokyo'");
        }
        move_to_other_partition(server, cached, written, "INSERT INTO noted VALUES (1)",
                                "SET TimeZone = 'Asia/Tokyo'");
        fail_to_start_late(server, cached);
        fail_to_guard(server, cached);
        change_between(server, cached);
        lose_child(server, cached);
        keep_snapshot(server, cached);
        detach_concurrently(server, cached);
        revoke_rights(server, cached);
    } catch (const std::exception& e) {
        std::cout << "not ok - " << e.what() << '\n';
        return 1;
    }
    return 0;
}
