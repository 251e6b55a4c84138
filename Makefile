# make                 build bin/nft-offload
# sudo make install    install it (PREFIX=/usr/local, DESTDIR for packages); make uninstall takes it away
# make demo            see it work (root)
# make test            all tests, under other kernels too (root; NFT_OFFLOAD_STRICT=1: a skip is a failure)
# make help            everything else
#
# demo, test, test-vm, bench, lint and generate install what they lack: see scripts/deps.sh.

PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin

# Go is often not on root's PATH, and neither is sbin on a user's.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
# Static binaries: one file for any distribution, and for a VM. `make CGO_ENABLED=1 ...` for the race detector.
export CGO_ENABLED ?= 0

BIN      := bin/nft-offload
# git refuses a checkout that belongs to another user, and go build would then refuse to build.
BUILDVCS := $(shell git rev-parse --git-dir >/dev/null 2>&1 && echo auto || echo false)
TESTS    ?= ./...
FUZZTIME ?= 10s
# Namespaces, timing and 2-core machines: packages are tested one after the other (-p 1), tests always run anew, and a
# package that hangs says where. The longest one runs two kernels, each on an emulated CPU.
TESTFLAGS ?= -p 1 -count=1 -timeout 40m

.DEFAULT_GOAL := all

.PHONY: all
all: ## build bin/nft-offload
	go build -trimpath -buildvcs=$(BUILDVCS) -ldflags '-s -w' -o $(BIN) ./cmd/nft-offload

# Not phony and without sources: `sudo make install` installs what `make` built, and builds only where nothing is.
$(BIN):
	$(MAKE) all

.PHONY: install
install: $(BIN) ## install under PREFIX
	install -D -m 0755 $(BIN) $(DESTDIR)$(SBINDIR)/nft-offload

.PHONY: uninstall
uninstall: ## remove what install installed
	rm -f $(DESTDIR)$(SBINDIR)/nft-offload

.PHONY: test
test: ## go vet and all tests, VM tests included
	@scripts/deps.sh test vm
	go vet ./...
	go vet -tags guest ./test/... ./internal/link
	@go run ./scripts/testcount $(if $(SUMMARY),-summary $(SUMMARY)) -- $(TESTFLAGS) $(TESTS)

.PHONY: test-vm
test-vm: ## only the tests under Debian's kernels in QEMU; KERNEL=6.1 GROUP=paths RUN=TestX for some, UPDATE_DOCS=1
	@NFT_OFFLOAD_VM_KERNEL='$(KERNEL)' NFT_OFFLOAD_VM_GROUP='$(GROUP)' NFT_OFFLOAD_VM_RUN='$(RUN)' \
		$(MAKE) --no-print-directory test TESTS='./test/vm/... ./internal/testkit/vm/...'

.PHONY: demo
demo: ## build, then show it between network namespaces
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory all
	$(BIN) demo

.PHONY: bench
bench: ## build, then measure; BENCHFLAGS=--json and others go to `nft-offload bench flows`
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory all
	$(BIN) bench flows $(BENCHFLAGS)

.PHONY: bench-rules
bench-rules: ## measure chains and sets, seven minutes, and write the figures into docs/rules.md
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory all
	$(BIN) bench rules $(BENCHFLAGS) | tee bin/rules.txt
	scripts/figures.sh docs/rules.md 'nft-offload bench rules' < bin/rules.txt

.PHONY: soak
soak: ## the reliability table: paired runs with and without the daemon, 12 minutes; SEED=7, ROWS='link|killed', UPDATE_DOCS=1
	@scripts/deps.sh test
	go test -c -o bin/soak.test ./test/soak
	cd test/soak && NFT_OFFLOAD_SOAK=full NFT_OFFLOAD_SOAK_SEED=$(or $(SEED),1) \
		../../bin/soak.test -test.run 'TestReliability/($(ROWS))' -test.timeout 90m

.PHONY: lint
lint: ## golangci-lint, clang-format, shellcheck
	@scripts/deps.sh lint
	@scripts/lint.sh

.PHONY: format
format: ## gofumpt and clang-format, in place
	@scripts/deps.sh lint
	@scripts/lint.sh --fix

.PHONY: generate
generate: ## rebuild generated files, the eBPF objects among them
	@scripts/deps.sh generate
	go generate ./...

.PHONY: check-generated
check-generated: ## fail when generated files are not what `make generate` makes
	@scripts/deps.sh generate
	@scripts/check-generated.sh

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built here; caches stay
	rm -rf bin

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.* ## (.*)$$/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target text; do printf '  %-16s %s\n' "$$target" "$$text"; done
