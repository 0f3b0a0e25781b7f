# What people type. The build itself is CMake's: CMakePresets.json has the configurations.
PROMPT ?= What does "river" mean?
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 300
export PROMPT  # through the environment: quotes and dollars in it reach the program as typed

.DEFAULT_GOAL := help
.PHONY: help run build test test-long test-real bench-peer install format tidy clean

help:             ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

run: build        ## answer PROMPT with the demo model, streaming; installs what is missing first
	build/release/unicorn run --chat --prompt "$$PROMPT"

build:            ## build/release/unicorn
	scripts/bootstrap build
	cmake --preset release --log-level=WARNING
	cmake --build --preset release --parallel $(JOBS) --target unicorn unicorn_data

test:             ## everything that must pass; installs what is missing first (JOBS, FUZZ_SECONDS)
	scripts/bootstrap test
	scripts/run_tests.py --jobs $(JOBS) --fuzz-seconds $(FUZZ_SECONDS)

test-long:        ## the tests labelled 'long', ten minutes of each fuzzer; keeps tests/long/last_run.txt (SOAK_SECONDS)
	scripts/bootstrap test
	scripts/run_tests.py --long --jobs $(JOBS) --fuzz-seconds $(if $(filter file,$(origin FUZZ_SECONDS)),600,$(FUZZ_SECONDS)) --soak-seconds $(SOAK_SECONDS)

test-real: build  ## the tests labelled 'real': published weights; a skipped one says what it wants
	scripts/bootstrap test
	scripts/run_tests.py --jobs $(JOBS) --label real

bench-peer: build ## tokens per second beside llama.cpp's on the same files, and shares of the machine's limit (an hour)
	scripts/bootstrap test
	bench/compare_with_llama_cpp.py $(BENCH_OPTIONS)

install: build    ## PREFIX/bin/unicorn, the demo model, and the engine for find_package(unicorn) (DESTDIR is honoured)
	cmake --install build/release --prefix $(PREFIX)

format:           ## clang-format-19 over all sources
	scripts/bootstrap test
	scripts/run_tests.py --format

tidy:             ## clang-tidy-19 over all sources (minutes)
	scripts/bootstrap tidy
	cmake --preset tidy --log-level=WARNING
	cmake --build build/tidy --target unicorn_commit
	scripts/run_tests.py --tidy --jobs $(JOBS)

clean:            ## remove build/
	rm -rf build
