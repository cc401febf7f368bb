# Every target is one line of work; what it does is in scripts/.
CHAPTER ?= 1.1
export CHAPTER

.DEFAULT_GOAL := help
.PHONY: help book test test-fast lint run-all lab up down refresh site lock bench doctor pyflink trino-test docker-up docker-down docker-logs docker-doctor docker-test binder-test clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: ## install what is missing, build the site, run CHAPTER=1.1 live on Kafka, Redis and Spark
	@scripts/book.sh

test: ## what CI checks without Docker: lint, notebooks, site, unit to browser tests, coverage
	@scripts/test.sh

test-fast: ## lint and the tests that need neither server nor browser, in under a minute
	@scripts/test.sh --fast

lint: ## ruff, import direction, notebooks, workflows, shell scripts
	@scripts/lint.sh

run-all: ## run every chapter live and render a site with this machine's numbers in _build/live/html
	@scripts/live.sh --all

lab: ## JupyterLab on 127.0.0.1 with the services attached; they stop with it
	@scripts/lab.sh

up: ## start Kafka and Redis for several notebooks to share
	@scripts/kit.sh up

down: ## stop what `make up` started
	@scripts/kit.sh down

doctor: ## what is installed, in which version, what is missing, and how to get it
	@scripts/doctor.sh

refresh: ## execute CHAPTER's text form again and commit-ready its notebook
	@scripts/kit.sh refresh $(CHAPTER)

site: ## only the site, from the committed outputs, into _build/html
	@scripts/site.sh

bench: ## run every file of benchmarks/ and print its table
	@scripts/bench.sh

lock: ## resolve pyproject.toml into requirements.lock again
	@scripts/lock.sh

pyflink: ## PyFlink in an environment of its own, for Flink jobs in Python (144 MB, once)
	@scripts/pyflink.sh

trino-test: ## fetch Trino (860 MB, once) and hold its answers against DuckDB's and the truth
	@scripts/trino_test.sh

docker-up: ## start the containers (PROFILE=cluster: three brokers and six Redis nodes too), print the export lines
	@scripts/docker.sh up $(PROFILE)

docker-down: ## stop the containers, remove them, their networks and their volumes
	@scripts/docker.sh down

docker-logs: ## the last lines of each container, or of SERVICE=kafka
	@scripts/docker.sh logs $(SERVICE)

docker-doctor: ## health of each container, and the kit's report over their addresses
	@scripts/docker.sh doctor

docker-test: ## start the containers, run and break the pipeline and a chapter on them, leave nothing behind (WHAT=pipeline or stack: one)
	@scripts/docker_test.sh $(WHAT)

binder-test: ## what Binder does with this repository, in a container of 2 GiB
	@scripts/docker_test.sh binder

clean: ## remove what was built; keeps .venv and the jars
	@rm -rf _build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov spark-warehouse
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
