#include "pg_extension/operator_functions.hpp"

extern "C" {
#include <access/htup_details.h>
#include <access/transam.h>
#include <catalog/pg_aggregate.h>
#include <catalog/pg_amop.h>
#include <catalog/pg_amproc.h>
#include <catalog/pg_language.h>
#include <catalog/pg_proc.h>
#include <utils/catcache.h>
#include <utils/syscache.h>
}

namespace tiercache {

namespace {

[[nodiscard]] bool is_in_c(Oid function) {
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(row)) return false;
    const Oid language = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row))->prolang;
    ReleaseSysCache(row);
    return language == INTERNALlanguageId || language == ClanguageId;
}

template <class Form, class F>
void for_each_of_list(int cache_id, Oid key, F visit) {
    CatCList* rows = SearchSysCacheList1(cache_id, ObjectIdGetDatum(key));
    for (int i = 0; i < rows->n_members; ++i) {
        visit(reinterpret_cast<Form>(GETSTRUCT(&rows->members[i]->tuple)));
    }
    ReleaseSysCacheList(rows);
}

}  // namespace

List* support_functions(Oid op) {
    List* functions = NIL;
    for_each_of_list<Form_pg_amop>(AMOPOPID, op, [&functions, op](const FormData_pg_amop* member) {
        // What users add to PostgreSQL's families serves operators of their own.
        if (op < FirstNormalObjectId && member->amopfamily < FirstNormalObjectId) return;
        for_each_of_list<Form_pg_amproc>(AMPROCNUM, member->amopfamily,
                                         [&functions](const FormData_pg_amproc* support) {
                                             const Oid function = support->amproc;
                                             if (function < FirstNormalObjectId || is_in_c(function)) return;
                                             functions = list_append_unique_oid(functions, function);
                                         });
    });
    return functions;
}

Oid sort_operator(Oid aggregate) {
    HeapTuple row = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(row)) return InvalidOid;
    const Oid op = reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(row))->aggsortop;
    ReleaseSysCache(row);
    return op;
}

}  // namespace tiercache
