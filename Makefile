# `make demo` shows Tarn at work, `make test` passes the tests; both get what they need themselves.
# Needed beforehand: a Rust toolchain (1.95), a C compiler, git, make, Python 3; for `make test` Java 17 and Maven.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
SEEDS ?= 200

.PHONY: help build demo test lint unit sim system clients spark fuzz-sql release bench clean-demo

help:
	@echo "make demo               build, start, feed real flights, show SQL over them, stay up"
	@echo "make test               every check that CI runs"
	@echo "make clients            every call of ten Kafka clients, as a table"
	@echo "make spark              every comparison with every value of every type, in Spark too"
	@echo "make sim SEEDS=1000     the simulator over this many fresh seeds"
	@echo "make fuzz-sql           20,000 random queries, compared with DuckDB's answers"
	@echo "make release            an optimized binary (about 40 minutes on two cores)"
	@echo "make bench              measure it: freshness, producing, memory under load"

build:
	$(CARGO) build --workspace

demo:
	@scripts/demo

test: lint unit system

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# The simulator's short run is part of the workspace's tests.
unit: build
	$(CARGO) test --workspace --exclude tarn-system-tests

# Real binaries and real clients.
system: build
	scripts/python-env >/dev/null
	scripts/spark-env >/dev/null
	tools=$$(scripts/test-tools) && PATH="$$tools:$$PATH" $(CARGO) test -p tarn-system-tests

# Every call of ten Kafka clients, as a table; Go, Node and Java with Maven are needed beforehand.
clients: build
	scripts/python-env >/dev/null
	$(CARGO) test -p tarn-system-tests --features all-clients --test clients table -- --nocapture

# The whole type matrix in Tarn, DuckDB, PyIceberg and Spark; `make system` asks less of it.
spark: build
	scripts/python-env >/dev/null
	scripts/spark-env >/dev/null
	TARN_WHOLE_MATRIX=1 $(CARGO) test -p tarn-system-tests --test engines

sim:
	TARN_SIM_SEEDS=$(SEEDS) $(CARGO) test --profile sim -p tarn-sim --test seeds -- --nocapture

# QUERIES and SEED as they are wished.
QUERIES ?= 20000
fuzz-sql: build
	scripts/fuzz-sql $(TARGET)/debug/tarn --queries $(QUERIES) $(if $(SEED),--seed $(SEED))

release:
	$(CARGO) build --release --bin tarn

# Measurements, not tests; the soak alone runs for ten minutes.
BENCH = $(CARGO) run --release -p tarn-bench -- --tarn $(TARGET)/release/tarn
bench: release
	$(BENCH) freshness
	$(BENCH) produce
	$(BENCH) produce --tables --lanes frames
	$(BENCH) soak --minutes 10
	$(BENCH) growth
