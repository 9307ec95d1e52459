# Every target says what it does: run `make`.
.DEFAULT_GOAL := help
SHELL := bash
.PHONY: help demo test check fmt vet lint machine compile race fuzz bench rates rivals mutants versions conform brokers-up brokers-down python

GO   ?= go
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
D    ?= rabbit
V    ?= $(if $(filter rabbit,$(D)),4.3)
T    ?= 30s
N    ?= 10000
ROUNDS ?= 3

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## show call, cast and fanout at work, without a broker
	$(GO) run ./cmd/patchbay demo

test: ## run all tests with -race, on real brokers; sets up an engine and images when missing
	@$(MAKE) --no-print-directory -j2 machine compile # side by side: the first waits for downloads half of the time
	@$(MAKE) --no-print-directory race mutants versions

check: fmt vet lint test ## all that a change must pass: format, vet, lint, then the tests

fmt: ## fail when a file is not formatted; `make fmt FIX=1` formats it
	$(LINT) fmt $(if $(FIX),,--diff)

vet: ## go vet, and whether it builds where an int has 32 bits
	$(GO) vet ./...
	GOARCH=386 $(GO) build ./...
	cd bench/rivals && $(GO) vet ./...

lint: ## golangci-lint at the version in tools/go.mod; its first build takes some minutes
	$(LINT) run

machine: ## set up what the tests need: brokers-up, then python, since both may install packages
	@$(MAKE) --no-print-directory brokers-up
	@$(MAKE) --no-print-directory python

compile: ## build the tests with -race
	@$(GO) test -race -run '^$$' ./... >/dev/null

race: compile ## the tests alone, with the brokers that are there; prints what each package took
	@set -o pipefail; $(GO) test -race -p 1 -timeout 20m ./... 2>&1 | tee .test.log; status=$$?; \
	 echo "-- slowest packages:"; \
	 awk '($$1 == "ok" || $$1 == "FAIL") && $$3 ~ /^[0-9.]+s$$/ { printf "%9s  %s\n", $$3, $$2 }' .test.log | sort -rn | head; \
	 rm -f .test.log; exit $$status

rivals: ## measure zmq beside gRPC, libzmq (gcc, libzmq3-dev), zmq4 and TCP; R=rabbit://… adds RabbitMQ
	@cd bench/rivals && $(GO) run . $(if $(R),-rabbit '$(R)')

mutants: ## the suite's own test: each broken driver fails its cases and no other
	$(GO) test -run Mutant ./conformance

versions: ## the tests beside Python on the other versions of RabbitMQ; race has them on 4.0
	@for v in 3.10 4.3; do echo "-- interop on RabbitMQ $$v"; PATCHBAY_INTEROP_RABBITMQ=$$v \
	 $(GO) test -race -count=1 -timeout 10m -skip 'Topolog|AMQP1|ZMQ|ManyCalls|ConfigurationOptions|ConfigurationValues' ./interop || exit 1; done

fuzz: ## run every fuzz target for T=30s each
	@$(GO) list -f '{{$$d := .}}{{range .TestGoFiles}}{{$$d.ImportPath}} {{$$d.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$$d.ImportPath}} {{$$d.Dir}}/{{.}}{{"\n"}}{{end}}' ./... | \
	 while read -r pkg file; do for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	   echo "-- $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(T) "$$pkg" || exit 1; done; done

bench: ## run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

rates: python ## 10,000 calls of each pair of Go and Python, and what they cost: N=10000, ROUNDS=3
	PATCHBAY_INTEROP_CALLS=$(N) PATCHBAY_INTEROP_ROUNDS=$(ROUNDS) $(GO) test -count=1 -v -timeout 60m -run '^TestManyCalls$$' ./interop

conform: ## run the conformance suite on one driver, D=rabbit V=4.3
	$(GO) test -count=1 -v -run 'Conformance$(if $(V),/^$(V)$$)' ./drivers/$(D)/

brokers-up: ## start a container engine and make the brokers' images, where missing
	@brokers/docker-up
	@brokers/build-images

python: ## make the Python environment of interop/, where missing
	@interop/setup

brokers-down: ## remove the containers that tests left behind
	@docker ps -aq --filter label=patchbay.test | xargs -r docker rm -f -v
