# SPDX-License-Identifier: GPL-2.0
# Front end: each target is one thing that a person asks for, done by a script.
# The modules themselves are described in Kbuild.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

KERNEL ?= amd64
ACCEL ?= auto
export KERNEL ACCEL
# Empty ones are as good as none.
$(foreach v,KDIR KERNELRELEASE COOP_CACHE MIRROR TESTS,$(if $($(v)),$(eval export $(v)),$(eval unexport $(v))))

ifneq ($(EXT),)
.DEFAULT_GOAL := ext
endif

.PHONY: help
help: ## show this list
	@scripts/help $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: modules ## the main job: real traffic through the sample driver, and the figures
	@scripts/run

.PHONY: test
test: modules examples ## run all tests
	@scripts/test

.PHONY: debug-test
debug-test: setup ## the tests without NIC under lockdep and other checkers of the kernel
	@KERNEL=uml-debug scripts/build
	@KERNEL=uml-debug selftests/run $(or $(TESTS),checkers sched calls inline sync.sh priority)

.PHONY: torture
torture: modules examples ## the tests in guests whose CPUs stand still at random
	@selftests/torture $(TESTS)

.PHONY: bench
bench: modules ## measure each figure beside its baseline, into build/bench.json
	@scripts/bench

.PHONY: bench-host
bench-host: setup ## the ring beside rtrb, crossbeam and ringbuf, on two CPUs of this machine
	@scripts/in-root selftests/host/run compare

.PHONY: shell
shell: modules ## a shell in a guest, with the modules in $$COOP_MODULES
	@scripts/guest --nics 1 --timeout 0 --shell

.PHONY: modules
modules: setup ## build all modules into build/mod
	@scripts/build

.PHONY: ext
ext: modules ## build a driver outside the tree: make EXT=<dir>
	@scripts/build-ext "$(EXT)"

.PHONY: examples
examples: modules
	@for dir in $(patsubst %/Kbuild,%,$(wildcard examples/*/Kbuild)); do \
		scripts/build-ext "$$dir" >build/ext.log 2>&1 || { cat build/ext.log; exit 1; }; \
	done

.PHONY: lint
lint: setup ## rustfmt, clippy and shellcheck
	@scripts/lint

.PHONY: doc
doc: modules ## documentation of the crate, into build/doc
	@scripts/doc

.PHONY: install
install: ## install the modules for the running kernel, where it has Rust
	@scripts/install

.PHONY: setup
setup: ## make the cache: trixie root and prepared kernel (all others do it too)
	@scripts/setup

.PHONY: update
update: ## look for a newer kernel than the cache has
	@scripts/setup --update

.PHONY: clean
clean: ## remove what was built here
	rm -rf build

.PHONY: distclean
distclean: clean ## remove the cache too
	@scripts/distclean
