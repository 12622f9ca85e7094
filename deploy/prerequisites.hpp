// Compiled once before a build: names every missing library at once.
#if !__has_include(<lz4.h>)
#error "missing: lz4.h (package liblz4-dev)"
#endif
#if !__has_include(<xxhash.h>)
#error "missing: xxhash.h (package libxxhash-dev)"
#endif
#if !__has_include(<boost/interprocess/shared_memory_object.hpp>)
#error "missing: Boost.Interprocess (package libboost1.81-dev)"
#endif
#if !__has_include(<hiredis/hiredis.h>)
#error "missing: hiredis.h (package libhiredis-dev)"
#endif
#if !__has_include(<libpq-fe.h>)
#error "missing: libpq-fe.h (package libpq-dev)"
#endif
#if !__has_include(<CLI/CLI.hpp>)
#error "missing: CLI11 (package libcli11-dev)"
#endif
#if !__has_include(<fmt/format.h>)
#error "missing: fmt (package libfmt-dev)"
#endif
#if !__has_include(<nlohmann/json.hpp>)
#error "missing: nlohmann-json (package nlohmann-json3-dev)"
#endif
