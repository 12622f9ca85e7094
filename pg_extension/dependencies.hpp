// What a result depends on: the set of tags that is collected while a query is analyzed, planned and run.
//
// Queries that functions run inside it are seen by an executor hook. Nothing here has a destructor: errors
// may jump over it; begin() and end() bracket a collection, and end() must run on errors too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "pg_extension/pg.hpp"
#include "shm_cache/entry.hpp"

extern "C" {
#include <nodes/plannodes.h>
}

namespace tiercache {

class Dependencies {
 public:
    // More than these, and a result is not stored: each costs a little on every hit.
    static constexpr int limit = 200;

    void add(Tag tag) noexcept;
    void add_relation(Oid relation);
    // A table that unqualified names may be looked up before: those of its name in earlier schemas, if they
    // come.
    void add_named_relation(Oid relation);
    void add_schema(Oid schema);
    // A function of the user's, and what its source may name.
    void add_function(Oid function);
    // The schema of an operator or collation that a query may name.
    void add_operator(Oid op);
    void add_collation(Oid collation);
    // The schemas of search_path by name, whether they exist or not.
    void add_search_path();
    // A type whose values or texts the result holds, or that the query names; its definition, what it is made
    // of, and what would shadow its name.
    void add_type(Oid type);
    // The rewritten query: relations of views and policies too.
    void add_query(Query* query);
    void add_plan(PlannedStmt* plan);
    // The foreign tables of a plan, which bound the result's life.
    void add_foreign_tables(const PlannedStmt* plan);
    // Nothing of the result may be used longer than that from now on.
    void bound_life(std::uint32_t ttl_ms) noexcept { ttl_ms_ = std::min(ttl_ms_, ttl_ms); }
    // Of a query that a function runs: it may read what no tag follows, and its names were looked up
    // somewhere.
    void add_nested_plan(PlannedStmt* plan);
    // The settings whose values the result's key tells: nested plans that read others make it untracked.
    // String nodes.
    void allow_settings(const List* names);
    // The plan of the very query, which is no nested one.
    void set_own_plan(const PlannedStmt* plan) noexcept { own_plan_ = plan; }
    [[nodiscard]] bool is_own(const PlannedStmt* plan) const noexcept { return plan == own_plan_; }

    [[nodiscard]] bool overflow() const noexcept { return overflow_; }
    // Was something read whose changes nobody is told of (a temporary or foreign table, a catalog, a
    // setting)?
    [[nodiscard]] bool untracked() const noexcept { return untracked_; }
    // How long the result may be used at most; ttl_never_ms: as long as you like.
    [[nodiscard]] std::uint32_t ttl_ms() const noexcept { return ttl_ms_; }
    [[nodiscard]] bool reads_foreign_tables() const noexcept { return ttl_ms_ != ttl_never_ms; }
    [[nodiscard]] std::span<const Tag> tags() const noexcept {
        return {tags_, static_cast<std::size_t>(count_)};
    }
    // Was an object in a temporary schema added? It means something else in each session.
    [[nodiscard]] bool temporary() const noexcept { return temporary_; }
    // The relations among them that came since begin(), for people: OIDs.
    [[nodiscard]] List* relations() const noexcept { return relations_; }

    // Collects from the queries of this backend until end(); collections nest.
    void begin() noexcept;
    void end() noexcept;
    [[nodiscard]] Dependencies* outer() const noexcept { return outer_; }

 private:
    void add_items(List* invalidation_items) noexcept;
    void add_plan_relations(const PlannedStmt* plan);
    // Of a relation that is none of the tables that are read only the definition matters.
    void add_relation_of(Oid relation, const List* tables);
    void add_type_name(Oid type);
    // Rows of the catalog of that syscache which would shadow `name` in `schema`, if they come.
    void add_shadowing(int cache_id, const char* name, Oid schema);

    Tag tags_[limit] = {};
    int count_ = 0;
    bool overflow_ = false;
    bool untracked_ = false;
    bool temporary_ = false;
    std::uint32_t ttl_ms_ = ttl_never_ms;
    List* relations_ = nullptr;
    List* settings_ = nullptr;  // numbers
    const PlannedStmt* own_plan_ = nullptr;
    MemoryContext context_ = nullptr;
    Dependencies* outer_ = nullptr;
};

namespace dependencies {

// Is a query being run whose result depends on what runs inside it?
[[nodiscard]] bool collecting() noexcept;
// What runs inside depends on `tags` too: it was itself served from the cache.
void add_to_all(std::span<const Tag> tags) noexcept;
// What was served may be used no longer than that.
void bound_all(std::uint32_t ttl_ms) noexcept;
// Chains the executor's hook. Once a process.
void install_hook();

}  // namespace dependencies
}  // namespace tiercache
