# The front door. `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.

.PHONY: help demo build test check soak modes move warehouses resurrect scale bench eval assets tools test-tools openapi erd
.DEFAULT_GOAL := help

BINARY := target/release/selvedge
VENDOR := crates/web/assets/vendor
VENV := .venv
CONTRACT := target/contract
PART ?= demo
SEEDS ?=
# What the program is built with: full (Parquet, buckets, DuckDB, NATS), and on request kafka and delta.
FEATURES ?= full
WITH ?=

# Suites that run on whatever a world runs on; fault runs stop the servers that the others share.
MODE_SUITES := story:: sync:: identity:: life:: webhooks:: notices:: notes:: streams:: meaning:: api:: connections:: \
  crash:: crash_points:: feed_under_writers::

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: tools assets ## Bank data of several customers arriving, on this machine, without keys
	cargo build --release --locked
	$(BINARY) demo

build: tools assets ## The program, at target/release/selvedge (FEATURES=full,kafka,delta)
	cargo build --release --locked --features $(FEATURES)

test: tools test-tools assets ## Every test: unit, whole system, Plaid's own clients, PyAirbyte, browser
	rm -rf $(CONTRACT)
	SELVEDGE_CONTRACT_REPORT=$(CURDIR)/$(CONTRACT) \
	  cargo test --workspace --all-targets --locked --features selvedge/full
	scripts/contract $(CONTRACT)
	scripts/lint_deploy $(VENV)

check: tools assets ## Format, lints, tidiness
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --features selvedge/full -- -D warnings
	cargo test --workspace --locked --features selvedge/full --test it tidy

soak: build ## A slower suite (PART=lives SEEDS=0..40000); its count goes to docs/reliability.md
	scripts/soak $(PART) $(SEEDS)

warehouses: tools ## A million rows into every destination, killed and read back (WITH="postgres delta")
	scripts/need soak $(VENV)
	scripts/need bench $(VENV)
	cargo build --release --locked --features full,kafka,delta
	$(VENV)-soak/bin/python scripts/soak_warehouses $(BINARY) $(WITH)
	$(VENV)-soak/bin/python scripts/soak_protocols $(BINARY) $(VENV) $(VENV)-soak
	$(VENV)-bench/bin/python scripts/soak_spark $(BINARY)

modes: tools test-tools assets ## The suites of story, store and crashes on PostgreSQL, and with NATS
	cargo build --locked --features full
	for mode in postgres nats; do SELVEDGE_TEST_MODE=$$mode cargo test --locked --package selvedge --features full \
	  --test it -- $(MODE_SUITES) && SELVEDGE_TEST_MODE=$$mode cargo test --locked --package selvedge --features full \
	  --test it -- fault_runs:: || exit 1; done

move: build ## A million transactions from SQLite to PostgreSQL, killed three times on the way
	scripts/soak_move $(BINARY)

resurrect: ## Bring back one known bug after another; a table of the tests that catch them
	scripts/resurrect

scale: build ## Memory and CPU at fifty thousand and a million rows
	scripts/scale $(BINARY)

bench: build ## Cold start, memory, first load beside a plain client; a million emulated rows beside a bare server
	scripts/bench $(BINARY)
	scripts/bench_emulator $(BINARY)
	scripts/bench_processes $(BINARY)
	scripts/need bench $(VENV)
	$(VENV)-bench/bin/python scripts/bench_enrich $(BINARY)

eval: tools ## How often the judgement is right, on rows that its model has not seen
	cargo run --quiet --release --locked --package enrich --example eval -- --calibrate
	cargo run --quiet --release --locked --package testkit --example eval_series

erd: build ## Draw docs/reference/streams.svg anew
	$(BINARY) streams --svg > docs/reference/streams.svg

openapi: build ## Write docs/reference/openapi.json anew
	$(BINARY) openapi > docs/reference/openapi.json

assets: $(VENDOR)/htmx.min.js ## The dashboard's browser libraries, from npm by lock file

$(VENDOR)/htmx.min.js: package.json package-lock.json | tools
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	mkdir -p $(VENDOR)
	cp node_modules/htmx.org/dist/htmx.min.js $@
	cp node_modules/htmx.org/LICENSE $(VENDOR)/htmx.LICENSE

tools: ## What building needs: Rust, a C compiler, npm
	@scripts/need build

test-tools: ## What testing needs besides: PostgreSQL, Chromium, Python packages
	@scripts/need test $(VENV)
