# ftchat: one static file, built with musl. `make help` lists what can be asked for.
#
# Objects lie at build/VARIANT/<path>.o, one per source. `release` is what users get; the others
# are native (glibc) builds of the same sources, for the tests. Each variant has an archive of
# everything but main.c, so that a test links only what it needs, and may define its own
# check_failed. What is not in this file is in tests/tools/.

SHELL = /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
SEEDS ?= 1000
FROM ?= 1
FUZZ_SECONDS ?= 60
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
# `make V=1` shows the commands whole.
say = $(if $(V),,@echo "  $(1) $@";)

deps = build/deps
arch := $(shell uname -m)
tools = tests/tools

sources := main.c $(wildcard cmd/*.c cmd/*/*.c core/*.c core/*/*.c net/*.c store/*.c)
tests := $(patsubst tests/%.c,%,$(wildcard tests/*_test.c))
# The simulated disk alone is support for the store's tests, not a simulator.
test_support := $(wildcard tests/test_*.c) $(wildcard tests/sim/sim_disk*.c)
sims := $(if $(filter-out tests/sim/sim_disk%,$(wildcard tests/sim/*.c)),$(wildcard tests/sim/*.c))
benches := $(wildcard tests/bench/*.c)
fuzzers := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))

warnings = -Wall -Wextra -Wconversion -Wshadow -Wvla -Werror
common = -std=c11 -D_GNU_SOURCE -I. -g $(warnings) -MMD -MP -ffile-prefix-map=$(CURDIR)=.
hardening = -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE -fno-asynchronous-unwind-tables \
            -ffunction-sections -fdata-sections
sanitize = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# A variant is a compiler and its flags. Add a line here, a name to `variants`, and it can be built.
variants = release release-next release-clang native native-soak native-asan native-clang native-tsan native-coverage native-fuzz
CC_release = musl-gcc
CFLAGS_release = -O2 $(hardening) -ftrivial-auto-var-init=zero -isystem $(deps)/include
# The next release, as the tests of upgrades imagine it: one feature level more (core/feature.h).
CC_release-next = musl-gcc
CFLAGS_release-next = $(CFLAGS_release) -DFEATURE_LEVEL_TEST=1
CC_release-clang = clang
CFLAGS_release-clang = -O2 $(hardening) -ftrivial-auto-var-init=pattern \
    --target=$(arch)-linux-musl -nostdinc -isystem /usr/include/$(arch)-linux-musl \
    -isystem $(shell clang -print-resource-dir 2>/dev/null)/include -isystem $(deps)/include
CC_native = gcc
CFLAGS_native = -O2 -flto=auto # for the simulator's speed
# The same for this machine alone, with what a profile says (soak.sh).
CC_native-soak = gcc
CFLAGS_native-soak = -O3 -march=native -flto=auto $(if $(filter x86_64,$(arch)),-mstringop-strategy=libcall) $(PROFILE)
CC_native-asan = gcc
CFLAGS_native-asan = -O1 $(sanitize)
CC_native-clang = clang
CFLAGS_native-clang = -O1 $(sanitize)
CC_native-tsan = gcc
CFLAGS_native-tsan = -O1 -fsanitize=thread
CC_native-coverage = gcc
CFLAGS_native-coverage = -O0 --coverage
CC_native-fuzz = clang
CFLAGS_native-fuzz = -O1 $(sanitize) -fsanitize=fuzzer-no-link

.PHONY: all run stop test bench sim fuzz mutants install clean help deps variants format lint FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: ftchat

ftchat: build/release/ftchat
	@cp $< $@.new && mv $@.new $@

# --- what is built from elsewhere, and the version ---------------------------------------------

$(deps)/ready: $(tools)/deps.sh
	@mkdir -p build && $(tools)/deps.sh libraries $(deps) && touch $@

# The tests' packages, found or installed; asked again at each `make test` (it takes 50 ms).
deps: $(deps)/ready
	@$(tools)/deps.sh packages test

build/version: FORCE
	@mkdir -p build && $(tools)/version.sh >$@.new && { cmp -s $@.new $@ || cp $@.new $@; rm $@.new; }

# --- objects, archives and programs of every variant -------------------------------------------

define variant_rules
build/$(1)/%.o: %.c Makefile | $(deps)/ready
	@mkdir -p $$(@D)
	$$(call say,CC  )$$(CC_$(1)) $$(common) $$(CFLAGS_$(1)) $$(EXTRA_CFLAGS) -c -o $$@ $$<

build/$(1)/cmd/version.o: build/version
build/$(1)/cmd/version.o: EXTRA_CFLAGS += -DFTCHAT_VERSION='"$$(shell cat build/version 2>/dev/null)$(2)"'

build/$(1)/libftchat.a: $$(patsubst %.c,build/$(1)/%.o,$$(filter-out main.c,$$(sources)))
	@rm -f $$@ && gcc-ar rcs $$@ $$^
endef
$(foreach v,$(variants),$(eval $(call variant_rules,$(v),$(patsubst release-next,-next,$(filter release-next,$(v))))))

# `musl-gcc -static-pie` would silently make a dynamic executable: this is the same by hand.
musl = /usr/lib/$(arch)-linux-musl
gcc_file = $(shell gcc -print-file-name=$(1))
static_pie = gcc -nostdlib -static-pie -Wl,--no-dynamic-linker,-z,relro,-z,now,-z,noexecstack \
    -Wl,--gc-sections,--build-id=none $(LINK_MORE) -o $@ $(musl)/rcrt1.o $(musl)/crti.o $(call gcc_file,crtbeginS.o) \
    $(filter %.o %.a,$^) $(deps)/lib/libsodium.a $(deps)/lib/libinih.a $(2) \
    -L$(musl) -lc -lgcc $(call gcc_file,crtendS.o) $(musl)/crtn.o

build/release/ftchat build/release-next/ftchat build/release-clang/ftchat: build/%/ftchat: build/%/main.o build/%/libftchat.a
	$(call say,LINK)$(static_pie)

# A native program of variant V: its objects, its archive, Debian's libraries.
link_native = $(CC_$(1)) -g $(CFLAGS_$(1)) $(LINK_MORE) -o $@ $(filter %.o %.a,$^) -lsodium -linih -lpthread

define native_rules
build/$(1)/ftchat: build/$(1)/main.o build/$(1)/libftchat.a
	$$(call say,LINK)$$(call link_native,$(1))
build/$(1)/sim: $$(patsubst %.c,build/$(1)/%.o,$$(sims)) build/$(1)/libftchat.a
	$$(call say,LINK)$$(call link_native,$(1))
build/$(1)/test/%: build/$(1)/tests/%.o $$(patsubst %.c,build/$(1)/%.o,$$(test_support)) build/$(1)/libftchat.a
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(call link_native,$(1)) -lcmocka
endef
$(foreach v,$(filter native%,$(variants)),$(eval $(call native_rules,$(v))))

# `make variants` compiles and links everything with gcc and clang, warnings as errors.
variants: build/release-clang/ftchat $(foreach v,native-asan native-clang native-tsan,build/$(v)/ftchat)

# --- tests --------------------------------------------------------------------------------------

build/test/%: build/native-asan/test/%
	@mkdir -p $(@D) && cp $< $@

# Makes what a channel asks of the kernel fail.
%/net_faults_test: LINK_MORE = -Wl,--wrap=send,--wrap=recv,--wrap=connect,--wrap=getsockopt,--wrap=epoll_ctl,--wrap=calloc

# Makes what the threads ask of the system fail.
%/store_threads_faults_test: LINK_MORE = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=write,--wrap=syscall,--wrap=sysconf,--wrap=unshare,--wrap=pthread_create,--wrap=pthread_attr_init,--wrap=pthread_join

# Makes allocations fail.
%/store_faults_test %/store_check_faults_test %/store_open_faults_test %/store_copy_faults_test %/store_calls_test %/store_torn_test: LINK_MORE = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

# The unit tests once more, as built for release: musl, static, cmocka compiled from its source.
$(deps)/lib/libcmocka.a: | $(deps)/ready
	@$(tools)/deps.sh cmocka $(deps)
$(tests:%=build/release/tests/%.o) $(test_support:%.c=build/release/%.o): | $(deps)/lib/libcmocka.a
build/test-release/%: build/release/tests/%.o $(patsubst %.c,build/release/%.o,$(test_support)) build/release/libftchat.a
	@mkdir -p $(@D)
	$(call say,LINK)$(call static_pie,$@,$(deps)/lib/libcmocka.a)

build/sim/sim: build/native/sim
	@mkdir -p $(@D) && cp $< $@
build/sim/sim-asan: build/native-asan/sim
	@mkdir -p $(@D) && cp $< $@

build/bench/%: build/native/tests/bench/%.o build/native/libftchat.a
	@mkdir -p $(@D)
	$(call say,LINK)$(call link_native,native)

# What two analysers of the product's sources say (packages clang-tidy and cppcheck); .clang-tidy says what not.
lint:
	@for t in clang-tidy cppcheck; do command -v $$t >/dev/null || { echo "make lint needs $$t"; exit 1; }; done
	@for f in $(sources); do clang-tidy --quiet $$f -- -std=c11 -D_GNU_SOURCE -I. -isystem $(deps)/include \
	    -DFTCHAT_VERSION='""' 2>/dev/null || exit 1; done
	@cppcheck -q --std=c11 -D_GNU_SOURCE -I. --enable=warning,performance,portability --error-exitcode=1 \
	    --suppress=incorrectStringBooleanError --suppress=ctunullpointer --suppress=ctuuninitvar $(sources)

# Helpers of the end-to-end tests.
build/tools/%: $(tools)/%.c
	@mkdir -p $(@D)
	$(call say,CC  )gcc -std=c11 -D_GNU_SOURCE -O2 $(warnings) -o $@ $<

# Of the tests' helpers a fuzzer links what it needs.
build/native-fuzz/libtests.a: $(patsubst %.c,build/native-fuzz/%.o,$(test_support))
	@rm -f $@ && ar rcs $@ $^
build/fuzz/%: build/native-fuzz/tests/fuzz/%_fuzz.o build/native-fuzz/libtests.a build/native-fuzz/libftchat.a
	@mkdir -p $(@D)
	$(call say,LINK)$(call link_native,native-fuzz) -lcmocka -fsanitize=fuzzer

unit_programs = $(tests:%=build/test/%)
release_programs = $(tests:%=build/test-release/%)
sim_programs = $(if $(sims),build/sim/sim build/sim/sim-asan)
fuzz_programs = $(fuzzers:%=build/fuzz/%)
bench_programs = $(patsubst tests/bench/%.c,build/bench/%,$(benches))

# Packages first, then programs, then the run: a second make, so that -j cannot mix them.
test: deps
	@$(MAKE) --no-print-directory test-programs
	@tests/run $(TESTS)
.PHONY: test-programs
test-programs: ftchat build/release-next/ftchat $(if $(filter x86_64,$(arch)),build/tools/skew) $(unit_programs) $(release_programs) $(sim_programs) $(fuzz_programs)

sim: deps
	@$(MAKE) --no-print-directory $(sim_programs)
	@$(if $(sims),build/sim/sim --seeds $(SEEDS) --from $(FROM),echo "make sim: not in this build yet"; exit 1)

soak: deps
	@$(tools)/soak.sh $(SEEDS) $(FROM)
.PHONY: soak

fuzz: deps
	@$(MAKE) --no-print-directory $(fuzz_programs)
	@$(tools)/fuzz.sh $(FUZZ_SECONDS) $(fuzzers)

bench: deps
	@$(MAKE) --no-print-directory ftchat $(bench_programs)
	@if [ -x tests/bench/run ]; then tests/bench/run; else echo "make bench: not in this build yet"; exit 1; fi

mutants: deps
	@$(tools)/mutants.sh $(SEEDS) $(MUTANTS)

# More ways to run the same tests: units and end-to-end as another variant, units in valgrind.
VARIANT ?= native-asan
units: deps
	@$(MAKE) --no-print-directory $(tests:%=build/$(VARIANT)/test/%)
	@for test in $(tests); do echo "$(VARIANT): $$test"; \
	    build/$(VARIANT)/test/$$test >build/units.log 2>&1 || { tail -30 build/units.log; exit 1; }; done
e2e: deps
	@$(MAKE) --no-print-directory build/$(VARIANT)/ftchat
	@FTCHAT_BINARY=build/$(VARIANT)/ftchat tests/run e2e
# (Possibly lost: the thread-local block of a detached worker that is still there at the end.)
valgrind: deps
	@$(MAKE) --no-print-directory $(tests:%=build/native/test/%)
	@for test in $(tests); do echo "valgrind: $$test"; UNDER_VALGRIND=1 timeout 1800 valgrind -q --error-exitcode=9 --leak-check=full \
	    --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
	    build/native/test/$$test >build/valgrind.log 2>&1 || { tail -30 build/valgrind.log; exit 1; }; done
.PHONY: units e2e valgrind

# Line and branch coverage (gcov): PARTS="unit sim" leaves the end-to-end tests out, BAR=1 fails below the bars.
PARTS ?= unit sim e2e
coverage: deps
	@$(MAKE) --no-print-directory $(tests:%=build/native-coverage/test/%) build/native-coverage/sim build/native-coverage/ftchat
	@$(tools)/coverage.sh "$(PARTS)" $(if $(BAR),--bar)
.PHONY: coverage

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

# --- for users ----------------------------------------------------------------------------------

run: ftchat
	@$(tools)/cluster.sh run

stop:
	@$(tools)/cluster.sh stop

install: ftchat
	install -D -m 755 -s ftchat $(DESTDIR)$(PREFIX)/bin/ftchat

# The cluster's data and keys stay. What was built from elsewhere goes with `rm -r build`.
clean:
	@rm -rf ftchat $(filter-out $(deps),$(wildcard build/*))

help:
	@echo "make            build ./ftchat (installs the compiler packages that are missing)"
	@echo "make run        build, start the cluster of ftchat.ini on this host, open a client"
	@echo "make stop       stop that cluster; its data stays"
	@echo "make test       prove this checkout: unit tests, simulator, end-to-end, fuzz smoke"
	@echo "                TESTS=word ... runs only what has one of the words in its name"
	@echo "make bench      measure (writes, latency, failover, memory)"
	@echo "make sim        run the simulator: SEEDS=$(SEEDS) FROM=$(FROM)"
	@echo "make soak       many seeds on all cores, compiled for this machine: SEEDS=n FROM=n"
	@echo "make fuzz       fuzz every parser: FUZZ_SECONDS=$(FUZZ_SECONDS) each"
	@echo "make mutants    plant bugs and see that the tests find them (MUTANTS=name ..., SEEDS=n)"
	@echo "make e2e        the end-to-end tests with another build: VARIANT=$(VARIANT)"
	@echo "make valgrind   the unit tests in valgrind"
	@echo "make coverage   which lines and branches the tests reach (PARTS=\"unit sim\": without end-to-end;"
	@echo "                BAR=1: fails below the bars)"
	@echo "make variants   compile all with gcc and clang, and with sanitizers"
	@echo "make lint       what clang-tidy and cppcheck say of the sources"
	@echo "make install    install to DESTDIR=$(DESTDIR) PREFIX=$(PREFIX), stripped"
	@echo "make clean      remove what was built; never keys or data"

-include $(shell find build -name '*.d' -not -path 'build/deps/*' 2>/dev/null)
