// What a query is: a digest of its tree as it will be planned, with every name looked up, views and policies
// in place and literals as values; and of the settings that choose a plan, and so the order of rows that no
// ORDER BY orders. Two queries with the same digest return the same rows from the same data, whatever made
// them: their texts, search paths and settings then, or rules. It holds for this life of the server.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/bitmapset.h>
#include <nodes/parsenodes.h>
}

namespace tiercache {

inline constexpr int digest_text_bytes = 32;

struct StatementDigest {
    char text[digest_text_bytes + 1];  // hexadecimal
    Bitmapset* parameters;             // the numbers of those that the query refers to
    List* settings;  // String nodes: the names of those that it reads, see query_check::Findings
};

// `first_rows_fast`: it is planned as a cursor's. `parameters_known`: to its planner. May raise an error (out
// of memory).
void digest_statement(Query* query, bool first_rows_fast, bool parameters_known, StatementDigest& digest);

}  // namespace tiercache
