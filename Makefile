# The two that matter: `make run` shows the product at work, `make test` proves it.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin:/sbin:$(PATH)

.PHONY: help run test bench soak check fix sbom setup
help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

setup:           ## install what a fresh Debian 12 lacks
	@scripts/setup

run: setup       ## build, bring the GenAI example up in the lab, drive it, show what was allowed and denied and why
	@scripts/run $(ARGS)

test: setup      ## rustfmt, clippy, every test, the conformance cases
	@scripts/setup --tests
	@scripts/test

bench: setup     ## measurements, raw runs under bench/runs/
	@scripts/bench $(ARGS)

soak: setup      ## load and random deaths for ten minutes (ARGS=SECONDS), then level memory
	@scripts/soak $(ARGS)

sbom:            ## what the program is made of, as CycloneDX: target/sbom.cdx.json
	@scripts/sbom

check: setup     ## the quick half of `test`: rustfmt and clippy
	@cargo fmt --all --check
	@cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

fix: setup       ## what check can mend by itself
	@cargo fmt --all
	@cargo clippy --quiet --workspace --all-targets --fix --allow-dirty --allow-staged
