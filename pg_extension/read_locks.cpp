#include "pg_extension/read_locks.hpp"

#include <algorithm>

#include "pg_extension/tags.hpp"

extern "C" {
#include <access/xact.h>
#include <catalog/pg_class.h>
#include <catalog/pg_inherits.h>
#include <storage/lmgr.h>
#include <utils/lsyscache.h>
}

namespace tiercache::read_locks {

bool take(std::span<const Tag> tags) {
    if (!IsTransactionBlock() && !IsolationUsesXactSnapshot()) return false;
    const bool has_unlisted = std::ranges::find(tags, unlisted_partitions_tag()) != tags.end();
    for (const Tag tag : tags) {
        const Oid relation = relation_of(tag);
        const char kind = OidIsValid(relation) ? get_rel_relkind(relation) : '\0';
        // Types are not locked by who reads their values.
        if (kind == '\0' || kind == RELKIND_COMPOSITE_TYPE) continue;
        LockRelationOid(relation, AccessShareLock);
        if (has_unlisted && kind == RELKIND_PARTITIONED_TABLE) {
            list_free(find_all_inheritors(relation, AccessShareLock, nullptr));
        }
    }
    return true;
}

}  // namespace tiercache::read_locks
