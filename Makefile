# SPDX-License-Identifier: GPL-2.0
# Front end: each target is one thing that a person asks for, done by a script.
# The modules themselves are described in Kbuild.

# make all output of a target belong together, and stop at the first error
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

KERNEL ?= amd64
ACCEL ?= auto
export KERNEL KDIR KERNELRELEASE ACCEL COOP_CACHE MIRROR

ifneq ($(EXT),)
.DEFAULT_GOAL := ext
endif

release = $(firstword $(shell scripts/kdir))
V ?= 0

.PHONY: help
help: ## show this list
	@scripts/help $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## make the cache: trixie root and prepared kernel tree (done by all others too)
	@scripts/setup

.PHONY: modules
modules: setup ## build all modules into build/
	@scripts/build

.PHONY: ext
ext: modules ## build a driver outside the tree: make EXT=<dir>
	@scripts/build-ext "$(EXT)"

.PHONY: clean
clean: ## remove what was built here
	rm -rf build selftests/host/target
