# The commands that people and CI run. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export BOWSPRIT_CACHE ?= $(HOME)/.cache/bowsprit
CARGO := cargo
LOCKED := --locked
TARGET = $(or $(CARGO_TARGET_DIR),target)
BIN ?= $(HOME)/.local/bin
KREW = $(or $(OUT),$(TARGET)/krew)
# The generated CRDs go to a folder of their own for the drift check.
DRIFT := $(BOWSPRIT_CACHE)/drift
# docs/metrics.md is written, or compared, by the crates that register the metrics; one after the other, as they share the page.
METRICS_PAGE = $(CARGO) test $(LOCKED) -q --features bowsprit-crds/schema -p bowsprit-sidecar -p bowsprit-operator -p bowsprit-ledger --lib -- the_page_of_metrics
# `need-X` before everything else of X: what it and all that it calls need is installed, or named, before the first compile.
need-%:
	@tests/testbed/install $*
.NOTPARALLEL:
step = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

##@ Try it
.PHONY: demo demo-down quickstart
demo: need-demo ## A real cluster, the chart, an app, a failing provider: the whole story, ends with the cluster up
	@tests/demo/demo
demo-down: ## Remove everything that `make demo` started
	@tests/demo/down
quickstart: ## A sidecar with scripted providers on this machine, without a cluster
	@examples/quickstart

##@ Check it
.PHONY: test fmt lint unit valkey budget drift chart scripts e2e tree conformance-smoke queries metrics stack ledger-smoke scale-smoke
test: need-test cluster-programs fmt lint drift tree chart scripts unit valkey queries metrics budget conformance-smoke stack ledger-smoke e2e scale-smoke ## Everything that CI runs
	@printf '\nall checks passed\n'
fmt: need-fmt ## Formatting
	$(call step,formatting)
	@$(CARGO) fmt --all --check
lint: need-lint ## clippy, warnings are errors
	$(call step,clippy)
	@$(CARGO) clippy $(LOCKED) --workspace --all-targets --features bowsprit-crds/schema -- -D warnings
unit: need-unit ## Unit, property, simulation and in-process proxy tests
	$(call step,unit and in-process tests)
	@$(CARGO) test $(LOCKED) --features bowsprit-crds/schema
	@$(CARGO) test $(LOCKED) -q --features bowsprit-crds/schema,bowsprit-sidecar/failpoints --test failpoints
	@python3 -m unittest discover --quiet -s tests/load/measuring -t tests/load
valkey: need-valkey ## What a store counts and keeps, with Valkey in place of Redis
	$(call step,stores with Valkey)
	@tests/valkey
budget: need-budget ## Instructions and allocations of a request are within tests/load/budget.toml; COMMIT=1 writes it
	$(call step,what a request costs)
	@tests/load/budget $(if $(COMMIT),--commit)
drift: need-drift ## Generated files are what the source says
	$(call step,generated files)
	@mkdir -p $(DRIFT) && $(CARGO) run $(LOCKED) -q -p bowsprit-crds --features schema --bin crdgen -- $(DRIFT)
	@for crd in modelroutes providerconfigs usagepolicies; do \
	  diff -u crds/$$crd.yaml $(DRIFT)/$$crd.yaml && diff -u crds/$$crd.yaml charts/bowsprit/crds/$$crd.yaml || \
	  { echo "crds/$$crd.yaml is not what crds/src says: run 'make crds' and commit the result" >&2; exit 1; }; done
	@$(CARGO) run $(LOCKED) -q -p bowsprit-cli --bin docgen -- --check docs
	@$(CARGO) test $(LOCKED) -q --features bowsprit-crds/schema --test limits_page
	@$(METRICS_PAGE)
tree: need-tree ## The sidecar has no kube in it, core has no runtime in it, and no file imports one above it
	$(call step,dependency rules)
	@tests/tree
	@tests/arrows
	@tests/images/sbom check
chart: need-chart ## helm lint, template checks, alerts under promtool
	$(call step,chart)
	@tests/chart/check
	@tests/alerts/check
queries: need-observability ## Every query of the dashboards, on a real Prometheus that scrapes real sidecars under known traffic
	$(call step,queries of the dashboards)
	@tests/dashboards/check
	@tests/dashboards/run
metrics: need-metrics ## The six suites of metrics in their short form: exact counts of scripted traffic, as a real Prometheus has them
	$(call step,suites of metrics)
	@tests/metrics/run --short
scripts: need-scripts ## shellcheck, and every program that a script calls is in the table of what must be installed
	$(call step,shell scripts)
	@tests/testbed/check-needs
	@git ls-files -z | xargs -0 grep -lE '^#!(/usr)?/bin/(env )?(ba)?sh' | xargs shellcheck -x
conformance-smoke: need-conformance-smoke ## A few scenarios of `make conformance`: every client, every provider
	$(call step,official SDKs and agents as clients)
	@tests/sdk/run --smoke
stack: need-stack ## examples/observability starts, and each of its parts works
	$(call step,the stack of examples/observability)
	@$(CARGO) build --quiet $(LOCKED) -p bowsprit-sidecar -p bowsprit-providers
	@tests/compose/check
	@examples/observability/start --check --bin $(TARGET)/debug
ledger-smoke: need-ledger-smoke ## `make ledger` in its short form
	$(call step,bill = metrics = ledger)
	@tests/ledger/run --short
e2e: need-e2e ## Behaviour on a real Kubernetes
	$(call step,end to end on a real Kubernetes)
	@tests/e2e/run
scale-smoke: need-scale-smoke ## `make scale` with 500 sidecars
	$(call step,500 sidecars on a real Kubernetes)
	@tests/scale/run --short

.PHONY: observability
observability: need-observability ## Both in full, with their tables: each figure, what the traffic was, what Prometheus says; and spans in a real collector and a real Jaeger
	$(call step,queries of the dashboards)
	@tests/dashboards/check
	@tests/dashboards/run --table
	$(call step,suites of metrics)
	@tests/metrics/run --table
	$(call step,spans in a real OpenTelemetry Collector)
	@tests/collector/run
	$(call step,a request's tree in a real Jaeger)
	@tests/jaeger/run
	@examples/observability/start --check --jaeger --bin $(TARGET)/debug
.PHONY: pictures
pictures: need-pictures cluster-programs ## Photograph the dashboards, drawn by Grafana's libraries over a real Prometheus' answers: docs/pictures (npm, 0.5 GB)
	$(call step,pictures of the dashboards)
	@rm -f $(BOWSPRIT_CACHE)/kept.json && mkdir -p docs/pictures
	@tests/dashboards/run --keep $(BOWSPRIT_CACHE)/kept.json
	@BOWSPRIT_KEPT=$(BOWSPRIT_CACHE)/kept.json tests/e2e/run observability::every_query
	@tests/dashboards/picture/draw $(BOWSPRIT_CACHE)/kept.json docs/pictures
.PHONY: limits
limits: need-limits ## One limit for many sidecars, simulated: pods x skew x fault, what is admitted beyond it beside the bound, how much of it is used
	$(call step,one limit for many sidecars)
	@$(CARGO) test $(LOCKED) -q --profile fast --features bowsprit-crds/schema -p bowsprit-core --test shares -- --include-ignored --nocapture the_whole_table
	$(call step,one budget for many sidecars)
	@$(CARGO) test $(LOCKED) -q --profile fast --features bowsprit-crds/schema -p bowsprit-core --test money -- --include-ignored --nocapture the_whole_table
.PHONY: faults
faults: need-faults ## Every fault against the real sidecar, in full: prints the table of promises, figures and pass lines
	$(call step,fault matrix)
	@BOWSPRIT_FAULTS=full $(CARGO) test $(LOCKED) --profile fast -p bowsprit-sidecar --test faults \
	  $$(grep -qs '^failpoints' sidecar/Cargo.toml && echo --features failpoints)
.PHONY: ledger
ledger: need-ledger ## Bill, metrics and ledger side by side while sidecar, service and PostgreSQL are killed, or away for ten minutes
	$(call step,bill = metrics = ledger)
	@tests/ledger/run
.PHONY: caches
caches: need-caches ## What a hit costs, what a replayed day saves, what ten thousand vectors take beside themselves: the tables
	$(call step,caches)
	@BOWSPRIT_CACHES=full $(CARGO) test $(LOCKED) -q --profile fast --features bowsprit-crds/schema -p bowsprit-sidecar --test caches
.PHONY: chaos
chaos: need-chaos ## Ten minutes of killed operators and sidecars, edits, swapped keys and an apiserver that goes away, under traffic: the verdict
	$(call step,chaos on a real Kubernetes)
	@BOWSPRIT_CHAOS_SECONDS=$(or $(SECONDS),600) BOWSPRIT_OUTAGE_SECONDS=$(or $(SECONDS),600) \
	  BOWSPRIT_STORM_SECONDS=$(or $(SECONDS),600) BOWSPRIT_SLOW_SECONDS=$(or $(SECONDS),600) tests/e2e/run chaos:: outage:: storm:: slow_apiserver::
.PHONY: restore
restore: need-restore ## The restore drill: etcd's data lost, filled again from Git, and put back to an older backup, under traffic: the minutes
	$(call step,restore drill on a real Kubernetes)
	@tests/e2e/run restore:: --ignored
.PHONY: conformance
conformance: need-conformance ## Official SDKs and real agents as clients, through every provider; prints tables (installs from PyPI and npm)
	@tests/sdk/run
.PHONY: fuzz fuzz-smoke
fuzz: need-fuzz ## Fuzz TARGET (a folder of core/tests/corpus, or all) for TIME each, guided by coverage; needs g++
	@core/tests/fuzz/guided/run $(or $(TARGET),all) $(or $(TIME),60s)
fuzz-smoke: need-fuzz-smoke ## Fresh random inputs for every fuzz target, 5 seconds each; the fixed ones are in `make unit`
	@FUZZ_SECONDS=5 $(CARGO) test $(LOCKED) --profile fuzz -p bowsprit-core --test fuzz
.PHONY: fresh
fresh: ## `make demo` and `make test` on a bare Debian in a folder, every cache empty (as root); or ONLY="TARGET...", KEEP=1
	@tests/fresh/run $(ONLY)

##@ Measure it
.PHONY: scale
scale: need-scale ## 10,000 sidecars against the operator on a real Kubernetes: the table of figures and promises (25 minutes; or PODS=)
	@tests/scale/run
.PHONY: bench
bench: need-bench ## CPU, latency and memory beside nginx and haproxy; writes bench-results/
	@$(CARGO) build $(LOCKED) --release -p bowsprit-sidecar -p bowsprit-load
	@tests/load/bench
	@$(CARGO) bench $(LOCKED) -q -p bowsprit-sidecar --bench recording

##@ Build it
.PHONY: setup cluster-programs crds dashboards docs images cli install-cli cluster cluster-down
setup: need-test cluster-programs ## Install the Debian packages that are missing and build the test cluster's programs, once
cluster-programs: need-cluster
	@tests/testbed/bed build
crds: need-crds ## Write crds/*.yaml and the chart's copies
	@$(CARGO) run -q -p bowsprit-crds --features schema --bin crdgen -- crds
	@mkdir -p charts/bowsprit/crds && cp crds/*.yaml charts/bowsprit/crds/
dashboards: need-dashboards ## Write the chart's dashboards
	@dashboards/generate
docs: need-docs ## Write the generated pages of docs/
	@$(CARGO) run -q -p bowsprit-cli --bin docgen -- docs
	@BOWSPRIT_WRITE_DOCS=1 $(CARGO) test -q --features bowsprit-crds/schema --test limits_page
	@BOWSPRIT_WRITE_DOCS=1 $(METRICS_PAGE)
	@BOWSPRIT_WRITE_DOCS=1 $(CARGO) test -q -p bowsprit-core --test fidelity >/dev/null
images: need-images ## Container images, without a daemon
	@tests/images/build-images
.PHONY: images-verify supply deny
images-verify: need-images-verify ## Build the images twice (release) and compare them; looks into them
	@tests/images/verify
supply: need-supply ## deny.toml: licences, banned crates and sources of all that the images are made of
	@tests/images/sbom check
deny: need-deny ## The same rules over all of Cargo.lock, by cargo-deny itself (built once); ADVISORIES=1 for known holes too (asks GitHub)
	$(call step,cargo-deny)
	@tests/deny $(if $(ADVISORIES),--advisories)
cli: need-cli ## `kubectl bowsprit`, as target/release/kubectl-bowsprit
	@$(CARGO) build $(LOCKED) --release -p bowsprit-cli --bin kubectl-bowsprit
install-cli: cli ## Put `kubectl bowsprit` and its completion into BIN (~/.local/bin)
	@mkdir -p $(BIN) && cp $(TARGET)/release/kubectl-bowsprit $(BIN)/
	@$(BIN)/kubectl-bowsprit completion kubectl >$(BIN)/kubectl_complete-bowsprit && chmod 755 $(BIN)/kubectl_complete-bowsprit
	@echo "kubectl bowsprit is in $(BIN); it must be on the PATH"
.PHONY: krew
krew: need-krew cli ## The plugin's archive for this machine's kind and the manifest that `kubectl krew install` takes, in OUT (target/krew)
	@cli/krew pack $(TARGET)/release/kubectl-bowsprit here $(KREW)
	@cli/krew manifest $(KREW) >$(KREW)/bowsprit.yaml
cluster: need-cluster cluster-programs ## Start the test cluster
	@tests/testbed/bed up
cluster-down: ## Stop the test cluster
	@tests/testbed/bed down

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST); echo
