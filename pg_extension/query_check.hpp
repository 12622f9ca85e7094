// May a query's result be kept? All reasons against it, in words.
#pragma once

#include "pg_extension/dependencies.hpp"
#include "pg_extension/pg.hpp"
#include "shm_cache/entry.hpp"

extern "C" {
#include <nodes/parsenodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache {

// Sentences' ends, e.g. "function random() is volatile"; palloc'ed, without duplicates.
struct Reasons {
    List* list = nullptr;

    void add(const char* format, ...) pg_attribute_printf(2, 3);
    [[nodiscard]] bool any() const noexcept { return list != nullptr; }
    // "...; ...; ..."
    [[nodiscard]] char* joined() const;
    // Raises "query cannot be cached: ..." when there are any.
    void raise_if_any() const;
};

namespace query_check {

// Is it one SELECT, VALUES, TABLE or WITH? Returns its parse tree; nullptr when there are reasons.
[[nodiscard]] RawStmt* check_statement(List* parse_trees, Reasons& reasons);

// What check_query() found besides reasons.
struct Findings {
    // Functions and types that are not PostgreSQL's own may read tables: seen in this process only.
    bool calls_user_functions = false;
    // Does the planner compute what some of them return? Of a STABLE one it only estimates with that.
    bool folds_user_functions = false;
    // Does what it computes depend on the session's settings or role, on names or on rows of catalogs? What
    // its types are written as does, whatever its functions are declared as.
    bool reads_session = false;
    // String nodes: the settings that it reads, by itself or in a function that says so; they must be in the
    // key.
    List* settings = nullptr;
};

// `analyzed` is the query as it was written, `rewritten` with views and policies in place. Adds the named
// relations, the schemas and the types to `dependencies`. `format` says which form of the values is kept.
[[nodiscard]] Findings check_query(RawStmt* statement, Query* analyzed, Query* rewritten,
                                   PayloadFormat format, Reasons& reasons, Dependencies& dependencies);

enum class SettingsRead : unsigned char { refused, in_key };

// Of a query in its session as it will be planned: names were looked up, and text literals are values.
// `settings`: may it read settings of the application's own, of which it then says which?
[[nodiscard]] Findings check_rewritten(Query* rewritten, PayloadFormat format, SettingsRead settings,
                                       Reasons& reasons, Dependencies& dependencies);

// Partitions and inheritance children come with the plan.
void check_plan(PlannedStmt* plan, Reasons& reasons);

// A parameter's text is a literal that parse analysis never saw.
void check_parameter(int number, Oid type, const char* text, Reasons& reasons);

}  // namespace query_check
}  // namespace tiercache
