# tiercache: build, install, check, demo, bench. `make help` tells the targets.
# A folder without sources is skipped; objects mirror the source tree under build/.

VERSION := 1.0.0
SOVERSION := 1
PREFIX ?= /usr/local
ROOT := $(CURDIR)

# The server to build for: the newest installed one that has its server headers.
ifeq ($(origin PG_CONFIG),undefined)
PG_CONFIG = $(eval PG_CONFIG := $(shell deploy/find_pg_config.sh))$(PG_CONFIG)
endif

# SANITIZE=address|thread|undefined|address-undefined builds everything but the extension into its own tree.
SANITIZE ?=
B := build$(if $(SANITIZE),/$(SANITIZE))
ifneq ($(filter-out address thread undefined address-undefined,$(SANITIZE)),)
$(error SANITIZE=$(SANITIZE) is not known: use address, thread, undefined or address-undefined)
endif
comma := ,

# Instrumented code takes half as long to compile like this; -g1 is enough for the lines of a report. Tests take longer
# to optimize fully than to run; the library that they link is optimized all the same.
# With AddressSanitizer -O0 takes half as long as -O1 to compile, and the tests as long to run.
TEST_CXXFLAGS := $(or $(CXXFLAGS),$(if $(findstring address,$(SANITIZE)),-O0,-O1) -g1)
CXXFLAGS ?= $(if $(SANITIZE),-O1 -g1,-O2 -g)
SANFLAGS := $(if $(SANITIZE),-fsanitize=$(subst -,$(comma),$(SANITIZE)) -fno-omit-frame-pointer -fno-sanitize-recover=all)
PG_INCLUDE := /usr/include/postgresql
# gcc 12 makes a vector of two words that come out of registers by storing them one by one and loading both at once,
# which waits until the stores, and with them every cache miss before, are done: a third of an L1 hit.
CODE_FLAGS = -fno-tree-slp-vectorize
# What is measured beside us is compiled as anybody would.
$(B)/bench/%.o: private CODE_FLAGS =
# Programs that torture for a fixed time do more of it when they are optimized.
TORTURES := stress segment_soak segment_sweep segment_step segment_resize
$(B)/tests/unit/%.o $(B)/tests/system/%.o $(B)/tests/lib/%.o: private CXXFLAGS = $(TEST_CXXFLAGS)
$(TORTURES:%=$(B)/tests/system/%.o): private CXXFLAGS := $(CXXFLAGS)
BASE_FLAGS = -std=gnu++20 -Wall -Wextra -Werror -fPIC -pthread $(CODE_FLAGS) -I. -Iclient/include -isystem $(PG_INCLUDE)
COMPILE = $(CXX) $(BASE_FLAGS) $(CXXFLAGS) $(SANFLAGS) $(CPPFLAGS)
LINK = $(CXX) -pthread $(CXXFLAGS) $(SANFLAGS) $(LDFLAGS)
SHM_LIBS := -llz4 -lxxhash -lrt
CLIENT_LIBS := -Wl,--as-needed -lhiredis -lpq -ltomlplusplus -lfmt $(SHM_LIBS)

objects = $(patsubst %.cpp,$(B)/%.o,$(1))
SHM_SRC := $(wildcard shm_cache/*.cpp)
CLIENT_SRC := $(wildcard client/*.cpp client/*/*.cpp)
TOOLS_SRC := $(wildcard tools/*.cpp)
PGEXT_SRC := $(wildcard pg_extension/*.cpp pg_extension/*/*.cpp)
UNIT_SRC := $(wildcard tests/unit/*.cpp)
SYSTEM_SRC := $(wildcard tests/system/*.cpp)
TEST_LIB_SRC := $(wildcard tests/lib/*.cpp)
FUZZ_SRC := $(wildcard tests/fuzz/*_fuzz.cpp)
BENCH_SRC := $(wildcard bench/*.cpp)
BENCH_L1_SRC := $(wildcard bench/l1/*.cpp bench/l1/*/*.cpp)
DEMO_SRC := $(wildcard demo/*.cpp)
SOURCES := $(SHM_SRC) $(CLIENT_SRC) $(TOOLS_SRC) $(UNIT_SRC) $(SYSTEM_SRC) $(TEST_LIB_SRC) $(BENCH_SRC) $(BENCH_L1_SRC) $(DEMO_SRC)

SHM_LIB := $(if $(SHM_SRC),$(B)/lib/libtiercache_shm.a)
CLIENT_LIB := $(if $(CLIENT_SRC),$(B)/lib/libtiercache.a)
CLIENT_SO := $(if $(CLIENT_SRC),$(B)/lib/libtiercache.so)
ALL_LIB := $(or $(CLIENT_LIB),$(SHM_LIB))
CLI := $(if $(TOOLS_SRC),$(B)/bin/tiercache)
UNIT := $(if $(UNIT_SRC),$(B)/tests/unit_tests)
SYSTEM := $(patsubst tests/system/%.cpp,$(B)/tests/%,$(SYSTEM_SRC))
FUZZ := $(patsubst tests/fuzz/%.cpp,$(B)/tests/%,$(FUZZ_SRC))
BENCH := $(patsubst bench/%.cpp,$(B)/bench/%,$(BENCH_SRC))
BENCH_L1 := $(if $(BENCH_L1_SRC),$(B)/bench/bench_l1)
DEMO := $(if $(DEMO_SRC),$(B)/demo/demo)
EXTENSION := $(if $(PGEXT_SRC),$(if $(SANITIZE),,extension))

.PHONY: build deps install check check-sanitizers check-memory sqlsmith soak sweep check-core check-fresh check-versions check-arm64 demo bench bench-l1 bench-l1-sizes bench-l4 bench-eviction clean help lint lint-product format \
        format-check shell-check include-check \
        libs tests fuzz benches demo-program extension extension-pause
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

build: libs $(CLI) $(EXTENSION)

help:
	@echo 'make [build]      libraries, the tiercache command, the extension            -> build/'
	@echo 'make deps         install the Debian packages that all targets need (quick when there)'
	@echo 'make install      extension into PG_CONFIG'"'"'s server, the rest into PREFIX ($(PREFIX)); DESTDIR= works'
	@echo 'make check        deps, build, every test on private servers'
	@echo 'make check-core   PostgreSQL'"'"'s own suites with tiercache.mode = auto, against a run without (part of check)'
	@echo 'make check-fresh  the demo and the tests in a bare Debian made with debootstrap (as root)'
	@echo 'make check-versions  the tests of the extension on PostgreSQL 17 and 18, in bare Debians of theirs (as root)'
	@echo 'make check-arm64  the unit tests of the segment, built for arm64, in an emulator'
	@echo 'make check-sanitizers  all unit tests with ASan, UBSan and TSan'
	@echo 'make check-memory  the extension in a server built for it: assertions, ASan and UBSan; MEMORY_KINDS=memcheck: Valgrind'
	@echo 'make sqlsmith     random queries with tiercache.verify = error; SQLSMITH_QUERIES=10000'
	@echo 'make soak         an hour of torture for the segment; SOAK_MINUTES=60'
	@echo 'make sweep        deaths at every instruction of the segment, in more sizes and puts than check has; SWEEP_SEEDS=2'
	@echo 'make demo         deps, build, and the demo on private servers; DEMO_ROWS=2000000'
	@echo 'make bench        benchmarks; prints RESULT <name> <value> <unit>'
	@echo 'make bench-l1     the segment beside LMDB, Boost, TBB, libcuckoo, memcached and Redis; BENCH_FULL=1'
	@echo 'make bench-l1-sizes   the segment at 1 GiB and 8 GiB'
	@echo 'make bench-l4     L4 hits beside SELECT 1, the query itself and pgpool-II; the cost of L4 to writers'
	@echo 'make bench-eviction  miss ratios beside other policies; TRACES=folder with peers.tsv; OVERESTIMATE=8: an index for more items'
	@echo 'make lint         clang-format, clang-tidy (ANALYZER_MODE=deep: half an hour more) and shellcheck;  make format  rewrites'
	@echo 'make lint-product  the same without tests, bench and demo, each folder'"'"'s files together (part of check)'
	@echo 'make clean        remove build/'
	@echo
	@echo 'PG_CONFIG=$(PG_CONFIG)   the server to build for'
	@echo 'SANITIZE=address|thread|undefined|address-undefined   instrumented build in build/<sanitizer>/ (no extension)'
	@echo 'SKIP_DEPS=1   check, demo and bench do not look for packages'

deps:
	@deploy/deps.sh

clean:
	rm -rf build

# ---- what must be there before anything compiles ----
PREREQUISITES := $(B)/.prerequisites
$(PREREQUISITES): deploy/prerequisites.hpp
	@mkdir -p $(@D)
	@command -v $(firstword $(CXX)) >/dev/null || { echo 'error: no C++ compiler ($(CXX)): run "make deps"' >&2; exit 1; }
	@$(COMPILE) -fsyntax-only -x c++ $< || { echo 'error: a needed library is missing (see above): run "make deps"' >&2; exit 1; }
	@touch $@

# Objects are rebuilt when the way to compile them changes.
FLAGS_FILE := $(B)/.flags
$(FLAGS_FILE): FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(TEST_CXXFLAGS)' | cmp -s - $@ || echo '$(COMPILE) $(TEST_CXXFLAGS)' > $@
.PHONY: FORCE

$(B)/%.o: %.cpp $(FLAGS_FILE) | $(PREREQUISITES)
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c $< -o $@
-include $(patsubst %.o,%.d,$(call objects,$(SOURCES)))

# What is instrumented is compiled as one, as is what consists of inline functions above all, such as the argument
# parser's; unit tests by the group, of which each processor compiles another.
put_together = @mkdir -p $(@D); printf '\#include "%s"\n' $(wildcard $*/*.cpp) >$@.new; \
               if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(B)/%/together.cpp: FORCE
	$(put_together)
build/fuzz/%/together.cpp: FORCE
	$(put_together)
$(B)/%/together.o: $(B)/%/together.cpp $(FLAGS_FILE) | $(PREREQUISITES)
	$(COMPILE) -MMD -MP -c $< -o $@
-include $(foreach f,tools demo shm_cache,$(B)/$(f)/together.d)

# ---- libraries and the command ----
libs: $(SHM_LIB) $(CLIENT_LIB) $(CLIENT_SO)

SHM_OBJECTS := $(if $(SANITIZE),$(B)/shm_cache/together.o,$(call objects,$(SHM_SRC)))
$(B)/lib/libtiercache_shm.a: $(SHM_OBJECTS)
$(B)/lib/libtiercache.a: $(SHM_OBJECTS) $(call objects,$(CLIENT_SRC))
%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/lib/libtiercache.so: $(SHM_OBJECTS) $(call objects,$(CLIENT_SRC))
	@mkdir -p $(@D)
	$(LINK) -shared -Wl,-soname,libtiercache.so.$(SOVERSION) -o $@ $^ $(CLIENT_LIBS)
	@ln -sf libtiercache.so $@.$(SOVERSION)

$(B)/bin/tiercache: $(B)/tools/together.o $(ALL_LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(CLIENT_LIBS)

# ---- the extension: its own PGXS makefile, as a VPATH build ----
pgxs = mkdir -p $(1) && $(MAKE) --no-print-directory -C $(1) -f $(ROOT)/pg_extension/Makefile \
       PG_CONFIG='$(PG_CONFIG)' TIERCACHE_ROOT='$(ROOT)' TIERCACHE_SHM_LIB='$(abspath $(SHM_LIB))' $(2)

extension: $(SHM_LIB) | $(PREREQUISITES)
	+@$(call pgxs,build/pg_extension)
# With the pause points of the race tests compiled in; never installed.
extension-pause: extension
	+@$(call pgxs,build/pg_extension_pause,TIERCACHE_PAUSE=1 TIERCACHE_ALIKE=$(ROOT)/build/pg_extension)

# ---- tests, benchmarks, demo ----
tests: build $(UNIT) $(SYSTEM) $(if $(EXTENSION),extension-pause)

# The library goes first: of an inline function that tests use too, its own, optimized copy is taken.
whole = -Wl,--whole-archive $(filter %.a,$(1)) -Wl,--no-whole-archive $(filter %.o,$(1))

# What tests/system/sanitizers.sh builds with each sanitizer: the segment, and no more of the client than it needs.
# For TSan, which slows compiling down as well, without what has one thread of each process.
UNIT_segment := $(filter-out %_c_test.cpp $(if $(filter thread,$(SANITIZE)),$(foreach t,adaptive huge_pages put_work, \
                      tests/unit/segment_$(t)_test.cpp)),$(sort $(wildcard $(foreach t,segment lease local_authority \
                      shared_cache eviction reclaim stream view sampler statistics,tests/unit/$(t)*_test.cpp))))
UNIT_other := $(filter-out $(UNIT_segment),$(UNIT_SRC))

# In groups of so many files: segment-1, segment-8 and so on.
GROUP := 7
group_starts = $(shell seq 1 $(GROUP) $(words $(UNIT_$(1))))
group_objects = $(foreach i,$(group_starts),$(B)/tests/unit/$(1)-$(i).o)
define group_rule
$(B)/tests/unit/$(1)-$(2).cpp: FORCE
	@mkdir -p $$(@D)
	@printf '#include "%s"\n' $(wordlist $(2),$(words $(UNIT_$(1))),$(UNIT_$(1))) | head -n $(GROUP) >$$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
$(B)/tests/unit/$(1)-$(2).o: $(B)/tests/unit/$(1)-$(2).cpp $(FLAGS_FILE) | $(PREREQUISITES)
	$$(COMPILE) -MMD -MP -c $$< -o $$@
-include $(B)/tests/unit/$(1)-$(2).d
endef
unit_group = $(foreach i,$(group_starts),$(eval $(call group_rule,$(1),$(i))))
$(call unit_group,segment)
$(call unit_group,other)

$(B)/tests/unit_tests: $(call group_objects,segment) $(call group_objects,other) $(ALL_LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $(call whole,$^) -lgtest_main -lgtest $(CLIENT_LIBS)
$(B)/tests/segment_tests: $(call group_objects,segment) $(SHM_LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $(call whole,$^) -lgtest_main -lgtest $(SHM_LIBS)
$(SYSTEM): $(B)/tests/%: $(B)/tests/system/%.o $(call objects,$(TEST_LIB_SRC)) $(ALL_LIB)
	$(LINK) -o $@ $(call whole,$^) $(CLIENT_LIBS)

demo-program: build $(DEMO)

benches: build $(BENCH)
$(BENCH): $(B)/bench/%: $(B)/bench/%.o $(ALL_LIB)
	$(LINK) -o $@ $^ -lbenchmark $(CLIENT_LIBS)
$(BENCH_L1): $(call objects,$(BENCH_L1_SRC)) $(SHM_LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ -llmdb -ltbb -lhiredis $(SHM_LIBS)

$(B)/demo/demo: $(B)/demo/together.o $(ALL_LIB)
	$(LINK) -o $@ $^ $(CLIENT_LIBS)

# Fuzz targets and the code they reach are compiled by clang with libFuzzer, ASan and UBSan.
FUZZ_CXX ?= clang++
FUZZ_COMPILE = $(FUZZ_CXX) $(BASE_FLAGS) -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
               -fno-sanitize-recover=all
fuzz: $(FUZZ)
build/fuzz/%.o: %.cpp | $(PREREQUISITES)
	@mkdir -p $(@D)
	$(FUZZ_COMPILE) -MMD -MP -c $< -o $@
build/fuzz/shm_cache/together.o: build/fuzz/shm_cache/together.cpp | $(PREREQUISITES)
	$(FUZZ_COMPILE) -MMD -MP -c $< -o $@
build/fuzz/libtiercache_shm.a: build/fuzz/shm_cache/together.o
$(FUZZ): $(B)/tests/%: build/fuzz/tests/fuzz/%.o build/fuzz/libtiercache_shm.a
	@mkdir -p $(@D)
	$(FUZZ_CXX) -fsanitize=fuzzer,address,undefined -o $@ $^ -pthread $(SHM_LIBS)
-include $(patsubst %.cpp,build/fuzz/%.d,$(FUZZ_SRC)) build/fuzz/shm_cache/together.d

# deps may install the server that PG_CONFIG is looked for: what follows runs in a make of its own.
AGAIN = $(MAKE) --no-print-directory -j$(shell nproc)
ifndef SKIP_DEPS
check demo bench bench-l1 bench-l1-sizes bench-l4: deps
endif
check:
	@tests/run.sh
check-sanitizers:
	@for s in address undefined thread; do SANITIZE=$$s tests/run.sh || exit 1; done
check-memory:
	@$(AGAIN) tests
	@tests/memory.sh
sqlsmith:
	@$(AGAIN) extension-pause
	@tests/sqlsmith.sh
soak:
	@$(AGAIN) libs $(B)/tests/segment_soak $(B)/tests/segment_sweep $(B)/tests/segment_step
	@tests/soak.sh
sweep:
	@$(AGAIN) libs $(B)/tests/segment_sweep $(B)/tests/segment_step
	@tests/sweep.sh
demo:
	@$(AGAIN) demo-program
	@demo/run.sh
bench:
	@$(AGAIN) benches
	@bench/run.sh
bench-l1:
	@$(AGAIN) $(BENCH_L1)
	@bench/run.sh l1-peers
bench-l1-sizes:
	@$(AGAIN) $(BENCH_L1)
	@bench/run.sh l1-sizes
bench-l4:
	@$(AGAIN) $(B)/bench/l4_bench build
	@bench/run.sh l4
check-core:
	@$(AGAIN) build extension-pause
	@tests/check_core.sh
# The traces are not the project's: without them the patterns are generated.
TRACES ?= $(wildcard ../shared/traces)
bench-eviction: $(B)/bench/eviction_bench
	@$< $(TRACES) $(OVERESTIMATE)
check-fresh:
	@tests/debootstrap.sh
check-arm64:
	@tests/arm64.sh
check-versions:
	@tests/versions.sh

# ---- style ----
STYLED := $(sort $(foreach d,shm_cache client tools agent pg_extension tests bench demo, \
            $(wildcard $(foreach e,cpp hpp h,$(d)/*.$(e) $(d)/*/*.$(e) $(d)/*/*/*.$(e)))))
tidied = $(patsubst %.cpp,build/lint/%.ok,$(1))
PRODUCT_SRC := $(SHM_SRC) $(CLIENT_SRC) $(TOOLS_SRC) $(PGEXT_SRC)
TIDIED_TOGETHER := $(patsubst %,build/lint/%/together.ok,$(sort $(foreach s,$(PRODUCT_SRC),$(firstword $(subst /, ,$s)))))
TIDIED := $(call tidied,$(SOURCES) $(FUZZ_SRC) $(PGEXT_SRC))
format-check:
	@$(if $(STYLED),clang-format --dry-run -Werror $(STYLED),true)
shell-check:
	@shellcheck -x $(wildcard .ci/run $(foreach d,deploy tests tests/lib tests/memory tests/system demo demo/data bench,$(d)/*.sh))
format:
	@$(if $(STYLED),clang-format -i $(STYLED),true)
lint: format-check shell-check $(TIDIED)
# What check has time for: clang-tidy only for what is installed, each folder's files together.
lint-product: format-check shell-check include-check $(TIDIED_TOGETHER)
include-check:
	@awk '/^ *# *include/ && seen[FILENAME, $$NF]++ { print FILENAME ":" FNR ": error: included twice: " $$NF; bad = 1 } \
	      END { exit bad }' $(STYLED)

# `shallow` looks into calls of small functions only: a tenth of the time. ANALYZER_MODE=deep follows all.
ANALYZER_MODE ?= shallow
ANALYZER_FLAGS = -Xclang -analyzer-config -Xclang mode=$(ANALYZER_MODE)
TIDY_FLAGS = $(BASE_FLAGS)
build/lint/pg_extension/%.ok: TIDY_FLAGS = $(filter-out $(PG_INCLUDE),$(BASE_FLAGS:-isystem=)) \
                                           -isystem $(shell $(PG_CONFIG) --includedir-server) \
                                           -DTIERCACHE_PAUSE_POINTS -Wno-register
build/lint/%.ok: %.cpp $(wildcard .clang-tidy */.clang-tidy) | $(PREREQUISITES)
	@mkdir -p $(@D)
	@echo clang-tidy $<
	@clang-tidy --quiet $< -- $(TIDY_FLAGS) $(ANALYZER_FLAGS) 2>$@.log || { cat $@.log >&2; exit 1; }
	@if [ -e build/$*.d ]; then sed -e '1s|^[^:]*:|$@:|' -e 's|\.\./\.\./||g' build/$*.d >$(@:.ok=.d); \
	 else $(CXX) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $(@:.ok=.d) $<; fi
	@touch $@
-include $(TIDIED:.ok=.d)
$(TIDIED_TOGETHER): build/lint/%/together.ok: $(PRODUCT_SRC) $(filter %.hpp %.h,$(STYLED)) tests/tidy.sh \
                    $(wildcard .clang-tidy */.clang-tidy) | $(PREREQUISITES)
	@mkdir -p $(@D)
	@echo clang-tidy $*
	@$(if $(wildcard $*/.clang-tidy),cp $*/.clang-tidy $(@D)/,rm -f $(@D)/.clang-tidy)
	@tests/tidy.sh $(@D) $(filter $*/%,$(PRODUCT_SRC)) -- $(TIDY_FLAGS) $(ANALYZER_FLAGS) >$@.log || { cat $@.log >&2; exit 1; }
	@touch $@

# ---- install ----
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
D := $(DESTDIR)
install: build
	+$(if $(EXTENSION),@$(call pgxs,build/pg_extension,install DESTDIR='$(DESTDIR)'))
	install -d '$D$(BINDIR)' '$D$(LIBDIR)/pkgconfig' '$D$(INCLUDEDIR)/tiercache/shm_cache'
	$(if $(CLI),install -m 755 $(CLI) '$D$(BINDIR)')
	$(if $(CLIENT_LIB),install -m 644 $(CLIENT_LIB) '$D$(LIBDIR)')
	$(if $(CLIENT_SO),install -m 755 $(CLIENT_SO) '$D$(LIBDIR)/libtiercache.so.$(VERSION)')
	$(if $(CLIENT_SO),ln -sf libtiercache.so.$(VERSION) '$D$(LIBDIR)/libtiercache.so.$(SOVERSION)')
	$(if $(CLIENT_SO),ln -sf libtiercache.so.$(SOVERSION) '$D$(LIBDIR)/libtiercache.so')
	$(if $(SHM_SRC),install -m 644 shm_cache/*.hpp '$D$(INCLUDEDIR)/tiercache/shm_cache')
	$(if $(CLIENT_SRC),install -m 644 client/include/tiercache/* '$D$(INCLUDEDIR)/tiercache')
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' deploy/tiercache.pc.in > '$D$(LIBDIR)/pkgconfig/tiercache.pc'
