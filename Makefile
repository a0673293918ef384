# The front door. `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.

.PHONY: help demo build test check soak resurrect scale bench assets tools test-tools openapi
.DEFAULT_GOAL := help

BINARY := target/release/selvedge
VENDOR := crates/web/assets/vendor
VENV := .venv
CONTRACT := target/contract
PART ?= demo
SEEDS ?=

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: build ## Bank data of several customers arriving, on this machine, without keys
	$(BINARY) demo

build: tools assets ## The program, at target/release/selvedge
	cargo build --release --locked

test: tools test-tools assets ## Every test: unit, whole system, Plaid's own clients, PyAirbyte, browser
	rm -rf $(CONTRACT)
	SELVEDGE_CONTRACT_REPORT=$(CURDIR)/$(CONTRACT) cargo test --workspace --all-targets --locked
	scripts/contract $(CONTRACT)

check: tools assets ## Format, lints, tidiness
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --test it tidy

soak: build ## A slower suite (PART=lives SEEDS=0..40000); its count goes to docs/reliability.md
	scripts/soak $(PART) $(SEEDS)

resurrect: ## Bring back one known bug after another; a table of the tests that catch them
	scripts/resurrect

scale: build ## Memory and CPU at fifty thousand and a million rows
	scripts/scale $(BINARY)

bench: build ## Cold start, memory, first load beside a plain client; a million emulated rows beside a bare server
	scripts/bench $(BINARY)
	scripts/bench_emulator $(BINARY)

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
