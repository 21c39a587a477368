# The commands that people and CI run. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export BOWSPRIT_CACHE ?= $(HOME)/.cache/bowsprit
CARGO := cargo
LOCKED := --locked
# The generated CRDs go to a folder of their own for the drift check.
DRIFT := $(BOWSPRIT_CACHE)/drift
step = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

##@ Try it
.PHONY: demo demo-down quickstart
demo: setup ## A real cluster, the chart, an app, a failing provider: the whole story, ends with the cluster up
	@tests/demo/demo
demo-down: ## Remove everything that `make demo` started
	@tests/demo/down
quickstart: ## A sidecar with scripted providers on this machine, without a cluster
	@examples/quickstart

##@ Check it
.PHONY: test fmt lint unit drift chart scripts e2e tree
test: setup fmt lint drift tree chart scripts unit e2e ## Everything that CI runs
	@printf '\nall checks passed\n'
fmt: ## Formatting
	$(call step,formatting)
	@$(CARGO) fmt --all --check
lint: ## clippy, warnings are errors
	$(call step,clippy)
	@$(CARGO) clippy $(LOCKED) --workspace --all-targets --features bowsprit-crds/schema -- -D warnings
unit: ## Unit, property, simulation and in-process proxy tests
	$(call step,unit and in-process tests)
	@$(CARGO) test $(LOCKED) --features bowsprit-crds/schema
	@python3 -m unittest discover --quiet -s tests/load/measuring -t tests/load
drift: ## Generated files are what the source says
	$(call step,generated files)
	@mkdir -p $(DRIFT) && $(CARGO) run $(LOCKED) -q -p bowsprit-crds --features schema --bin crdgen -- $(DRIFT)
	@for crd in modelroutes providerconfigs; do \
	  diff -u crds/$$crd.yaml $(DRIFT)/$$crd.yaml && diff -u crds/$$crd.yaml charts/bowsprit/crds/$$crd.yaml || \
	  { echo "crds/$$crd.yaml is not what crds/src says: run 'make crds' and commit the result" >&2; exit 1; }; done
	@$(CARGO) run $(LOCKED) -q -p bowsprit-cli --bin docgen -- --check docs
tree: ## The sidecar has no kube in it, core has no runtime in it
	$(call step,dependency rules)
	@tests/tree
chart: ## helm lint and template checks
	$(call step,chart)
	@tests/chart/check
scripts: ## shellcheck
	$(call step,shell scripts)
	@git ls-files -z | xargs -0 grep -lE '^#!(/usr)?/bin/(env )?(ba)?sh' | xargs shellcheck -x
e2e: setup ## Behaviour on a real Kubernetes
	$(call step,end to end on a real Kubernetes)
	@tests/e2e/run

.PHONY: faults
faults: ## Every fault against the real sidecar, in full: prints the table of promises, figures and pass lines
	$(call step,fault matrix)
	@tests/testbed/install
	@BOWSPRIT_FAULTS=full $(CARGO) test $(LOCKED) --profile fast -p bowsprit-sidecar --test faults \
	  $$(grep -qs '^failpoints' sidecar/Cargo.toml && echo --features failpoints)
.PHONY: conformance
conformance: ## The official SDKs as clients, through every provider; prints a table (installs them from PyPI and npm)
	@tests/sdk/run
##@ Measure it
.PHONY: bench
bench: ## CPU, latency and memory beside nginx and haproxy; writes bench-results/
	@$(CARGO) build $(LOCKED) --release -p bowsprit-sidecar -p bowsprit-load
	@tests/load/bench

##@ Build it
.PHONY: setup crds docs images cluster cluster-down
setup: ## Install the Debian packages that are missing and build the test cluster's programs, once
	@tests/testbed/install
	@tests/testbed/bed build
crds: ## Write crds/*.yaml and the chart's copies
	@$(CARGO) run -q -p bowsprit-crds --features schema --bin crdgen -- crds
	@mkdir -p charts/bowsprit/crds && cp crds/*.yaml charts/bowsprit/crds/
docs: ## Write the generated pages of docs/
	@$(CARGO) run -q -p bowsprit-cli --bin docgen -- docs
images: setup ## Container images, without a daemon
	@tests/images/build-images
cluster: setup ## Start the test cluster
	@tests/testbed/bed up
cluster-down: ## Stop the test cluster
	@tests/testbed/bed down

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST); echo
