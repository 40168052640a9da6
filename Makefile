# A thin front to meson and the scripts in tools/. All paths are relative, so that the checkout may
# lie anywhere.
JOBS ?= 2
WERROR ?= true
FUZZ_SECONDS ?= 60
# One benchmark only: make bench BENCH=name (bench/name.py)
BENCH ?=
# Some tests only: make test TESTS="histogram serve"
TESTS ?=
COMPILE = ninja -j $(JOBS)

.NOTPARALLEL:
.PHONY: run test build build-test build-clang build-bare build-fuzz bench fuzz format format-check install \
	clean help bootstrap-build bootstrap-test bootstrap-bench

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 24

run: bootstrap-build build ## set up, build and show the main job (sonde tour has more)
	build/sonde tour call

build: build/build.ninja ## build/sonde, optimised, with debug information
	$(COMPILE) -C build

test: bootstrap-test build build-test build-clang build-bare ## set up, build four ways, run every test
	tools/run-tests $(TESTS)

bench: bootstrap-bench build ## run the measurements of bench/ (BENCH=name for one)
	$(COMPILE) -C build bench-peers
	tools/run-bench $(BENCH)

fuzz: bootstrap-test build-fuzz ## run each fuzzer for FUZZ_SECONDS (60)
	tools/run-fuzz --seconds $(FUZZ_SECONDS) build-fuzz

format: ## write the code as .clang-format says
	tests/check_format --fix

format-check: ## fail where the code is not as .clang-format says
	tests/check_format

install: build ## install build/sonde, the man page and completions (DESTDIR)
	meson install -C build --no-rebuild

clean: ## remove what was built
	rm -rf build build-test build-clang build-bare build-fuzz

# Folders of object files: release, sanitized with tests, second compiler, without what is optional,
# fuzzing.
build-test: build-test/build.ninja
	$(COMPILE) -C build-test

build-clang: build-clang/build.ninja
	$(COMPILE) -C build-clang

build-bare: build-bare/build.ninja
	$(COMPILE) -C build-bare

build-fuzz: build-fuzz/build.ninja
	$(COMPILE) -C build-fuzz

build/build.ninja:
	meson setup build -Dtests=false -Dwerror=$(WERROR)

build-test/build.ninja:
	meson setup build-test -Dbench=false -Dwerror=$(WERROR) -Db_sanitize=address,undefined

build-clang/build.ninja:
	CC=clang meson setup build-clang -Dwerror=$(WERROR)

build-bare/build.ninja:
	meson setup build-bare -Dtests=false -Dbench=false -Dwerror=$(WERROR) -Dbpf=disabled \
		-During=disabled -Dpfm=disabled -Dtls=disabled -Delfutils=disabled

build-fuzz/build.ninja:
	CC=clang meson setup build-fuzz -Dtests=false -Dbench=false -Dfuzz=true \
		-Db_sanitize=address,undefined -Db_lundef=false

bootstrap-build:
	tools/bootstrap build

bootstrap-test:
	tools/bootstrap test

bootstrap-bench:
	tools/bootstrap bench
