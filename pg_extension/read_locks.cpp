#include "pg_extension/read_locks.hpp"

#include <algorithm>

#include "pg_extension/statement_count.hpp"
#include "pg_extension/tags.hpp"

extern "C" {
#include <access/xact.h>
#include <storage/lmgr.h>
#include <utils/lsyscache.h>
}

namespace tiercache::read_locks {

bool are_needed(Asked asked) noexcept {
    const int own = asked == Asked::by_function ? 1 : 0;
    return IsTransactionBlock() || IsolationUsesXactSnapshot() || statement_count::running() > own;
}

bool are_known(std::span<const Tag> tags) noexcept {
    return std::ranges::find(tags, unlisted_partitions_tag()) == tags.end();
}

void take(std::span<const Tag> tags) {
    for (const Tag tag : tags) {
        const Oid relation = relation_of(tag);
        if (OidIsValid(relation) && get_rel_relkind(relation) != '\0')
            LockRelationOid(relation, AccessShareLock);
    }
}

}  // namespace tiercache::read_locks
