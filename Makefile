# Two commands do everything: make demo, make test. They install what they need
# with apt when they may, and say what to install when they may not.

GO ?= go
KERNELS ?= all
JOBS ?= $(shell nproc)
export CGO_ENABLED = 0

CLANG = clang-19
C_FILES = $(wildcard bpf/*.c bpf/*.h headers/*.h internal/stacks/testdata/*.c)
# With eBPF objects of their own.
BPF_PACKAGES = ./internal/probe ./internal/stacks
VMRUN = bin/vmrun
ACCEPTWATCH = bin/acceptwatch
MODES ?= fentry,kprobe,restricted
# How many inputs each fuzz target is given in make fuzz.
FUZZTIME ?= 20000x
# How often each benchmark is run in make bench.
BENCH_COUNT ?= 1
# Divides the numbers of make soak.
SOAK ?= 1
# The whole program, which is slower to test under emulation, in its best mode.
PROGRAM_MODES ?= fentry
# On the oldest and the newest kernel everything is tested, real servers too; on
# those between the core of the probe's tests, and the program. make soak runs
# the rest.
EDGE_KERNELS ?= 5.10,7.x
MIDDLE_KERNELS ?= 6.1,6.12
FLIGHT_KERNEL ?= 6.12
# On arm64 the core of the probe's tests is run, where it has no trampolines: 6.1.
ARM64 ?= arm64-6.1
ARM64_MODES ?= kprobe

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## See the incident: on this kernel if it can be watched in full, else in a VM
	@if $(ACCEPTWATCH) doctor -o json 2>/dev/null | grep -qE '"mode":"(fentry|kprobe)"'; then \
		$(ACCEPTWATCH) demo; \
	elif [ "$$(id -u)" != 0 ] && sudo -n $(ACCEPTWATCH) doctor -o json 2>/dev/null | grep -qE '"mode":"(fentry|kprobe)"'; then \
		sudo -n $(ACCEPTWATCH) demo; \
	else \
		echo "This kernel cannot be watched in full from here ('$(ACCEPTWATCH) doctor' says why): a VM runs the demo."; \
		$(MAKE) --no-print-directory vm-needs && \
		$(VMRUN) run -k 6.12 --timeout 3m --file $(ACCEPTWATCH):/bin/acceptwatch -- /bin/acceptwatch demo; \
	fi

.PHONY: test
test: lint generated test-unit test-race fuzz test-browser dist-check test-kernels bench-budget ## Run everything: linters, unit and script tests, fuzzing, a browser, reproducible archives, this host, the kernel matrix

.PHONY: build
build: ## Build acceptwatch and vmrun into bin/
	$(GO) build -trimpath -o $(ACCEPTWATCH) ./cmd/acceptwatch
	$(GO) build -trimpath -o $(VMRUN) ./cmd/vmrun

# On arm64, functions that call nothing have frames only if they are told to.
FRAMES = -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer

bin/places: internal/stacks/testdata/place.c
	@.ci/need gcc=gcc /usr/include/stdlib.h=libc6-dev
	mkdir -p $@
	gcc -O0 $(FRAMES) -static -o $@/framed $<
	gcc -O1 -static -o $@/frameless $<
	touch $@

bin/places-arm64: internal/stacks/testdata/place.c
	@.ci/need aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdlib.h=libc6-dev-arm64-cross
	mkdir -p $@
	aarch64-linux-gnu-gcc -O0 $(FRAMES) -static -o $@/framed $<
	aarch64-linux-gnu-gcc -O1 -static -o $@/frameless $<
	touch $@

.PHONY: generate
generate: c-needs ## Compile the eBPF programs
	$(GO) generate $(BPF_PACKAGES)
	clang-format-19 -i $(C_FILES)

.PHONY: generated
generated: c-needs ## Check that the committed eBPF objects are what the sources give
	@kept=$$(mktemp -d) && cp --parents $(BPF_PACKAGES:=/*_bpfel*) "$$kept" && $(GO) generate $(BPF_PACKAGES) && \
	for f in $(BPF_PACKAGES:=/*_bpfel*); do \
		cmp "$$kept/$$f" "$$f" || { echo "$$f is not what bpf/ gives: run make generate" >&2; exit 1; }; \
	done && rm -r "$$kept"

.PHONY: lint
lint: c-needs ## gofmt, vet, staticcheck, clang-format, shellcheck
	@unformatted=$$(gofmt -l cmd internal) && [ -z "$$unformatted" ] || { echo "not gofmt-clean: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags kernel,kernelbench,growth,vm,browser,soak ./...
	$(GO) tool staticcheck ./...
	clang-format-19 --dry-run --Werror $(C_FILES)
	shellcheck .ci/need .ci/run .ci/flight .ci/dist .ci/dist-check

.PHONY: test-unit
test-unit: unit-needs ## Unit and script tests; as root also this host's kernel, in every mode that it allows
	ACCEPTWATCH_NEED_GCC=1 ACCEPTWATCH_NEED_ZSTD=1 ACCEPTWATCH_NEED_PROMETHEUS=1 ACCEPTWATCH_NEED_SYSTEMD=1 $(GO) test ./...

.PHONY: test-race
test-race: race-needs unit-needs ## The same with the race detector
	CGO_ENABLED=1 $(GO) test -race -count=1 ./...

# A number of runs and not a time: with a time, Go's own fuzzing fails by chance
# on a busy machine (go.dev/issue/75804).
.PHONY: fuzz
fuzz: ## Fuzz everything that reads what others wrote, FUZZTIME (20000x) each
	@packages=$$(grep -l '^func Fuzz' -r --include=*_test.go cmd internal | xargs -n 1 dirname | sort -u) && [ -n "$$packages" ] && \
	for package in $$packages; do \
		targets=$$($(GO) test -list '^Fuzz' ./$$package) || exit 1; \
		for target in $$(echo "$$targets" | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./$$package || exit 1; \
		done; \
	done

.PHONY: test-browser
test-browser: browser-needs ## The page of a report in a headless Chromium; PICTURES=DIR keeps what it looks like
	$(GO) test -count=1 -tags browser -timeout 20m -run 'Browser$$|^TestPageSorts' ./internal/report

.PHONY: test-kernels
test-kernels: build bin/places bin/places-arm64 vm-needs test-flight stall-programs ## The probe and the program on every kernel of the matrix
	ACCEPTWATCH_MODES=$(MODES) $(VMRUN) test -k $(EDGE_KERNELS) -j $(JOBS) --timeout 60m ./internal/probe
	ACCEPTWATCH_MODES=$(MODES) $(VMRUN) test -k $(MIDDLE_KERNELS) -j $(JOBS) --timeout 40m ./internal/probe -- -run '$(CORE_TESTS)|$(NEW_TESTS)'
	ACCEPTWATCH_MODES=stacks $(STACKS) -k $(KERNELS) ./internal/stacks
	ACCEPTWATCH_MODES=stacks $(STACKS_ARM64) -k arm64-7.x ./internal/stacks
	ACCEPTWATCH_MODES=stacks $(STACKS) -k 7.x --append lockdown=confidentiality ./internal/stacks
	ACCEPTWATCH_MODES=$(PROGRAM_MODES) $(E2E) --with $(TOOLS) -k $(KERNELS) ./internal/kerneltest -- -skip '$(SERVER_TESTS)|$(STALL_TESTS)'
	ACCEPTWATCH_MODES=fentry ACCEPTWATCH_EXPECT_MODE=fentry $(E2E) --with $(TOOLS) -k $(KERNELS) --append lockdown=confidentiality \
		./internal/kerneltest -- -run 'Netcat|Demo$$|Lockdown|BestMode|Doctor|OutOfDescriptors'
	ACCEPTWATCH_MODES=$(PROGRAM_MODES) $(E2E) --with $(TOOLS),nginx,haproxy,redis-server,java --file $$($(GO) tool -n pprof):/bin/pprof \
		-k $(EDGE_KERNELS) ./internal/kerneltest -- -run '$(SERVER_TESTS)'
	ACCEPTWATCH_MODES=$(PROGRAM_MODES) $(E2E_STALL) -k $(STALL_KERNELS) ./internal/kerneltest -- -run '$(STALL_TESTS)'
	ACCEPTWATCH_MODES=$(ARM64_MODES) $(VMRUN) test -k $(ARM64) --timeout 40m ./internal/probe -- -run '$(CORE_TESTS)'

.PHONY: test-flight
test-flight: build vm-needs ## The flight recorder in a VM while the demo runs there; its dump is reported here
	@rm -rf bin/flight && mkdir -p bin/flight
	$(VMRUN) run -k $(FLIGHT_KERNEL) --file $(ACCEPTWATCH):/bin/acceptwatch --fetch '/tmp/acceptwatch-*.trace' --out bin/flight -- \
		/bin/acceptwatch record --last 1m --trigger 'close_wait>=1/s | stall' --calm 3s -w /tmp -- /bin/acceptwatch demo
	.ci/flight $(ACCEPTWATCH) bin/flight

TOOLS = nc,ss,python3,ip,nsenter
SERVER_TESTS = TestServerStalls|TestServerKilled|TestStoppedWorker|TestClientsByMPTCP
# Servers that stop accepting, and why: see internal/kerneltest.
STALL_TESTS = TestServersThatStop|TestHealthyServers|TestTraceAndReportSayWhy
STALL_TOOLS = java,node,sh,mount,unshare,taskset,chrt,sleep
STALL_KERNELS ?= 6.1,7.x
CORE_TESTS = TestCanary|TestFinWhileQueued|TestResetWhileQueued|TestEveryConnection|TestQueuedBeforeAttach|TestBlockedInAccept|TestListenerClosed|TestFailedAccepts|TestRefused|TestQueueMoves|TestAttachingWhile
NEW_TESTS = TestMPTCPListener|TestFastOpenIs|TestDeathsWhose|TestOlderCarriers|TestSkippedMPTCP
STACKS = $(VMRUN) test -j $(JOBS) --file bin/places:/places --env ACCEPTWATCH_PLACES=/places
STACKS_ARM64 = $(VMRUN) test --file bin/places-arm64:/places --env ACCEPTWATCH_PLACES=/places
E2E = $(VMRUN) test -j $(JOBS) --tags kernel --timeout 40m --file $(ACCEPTWATCH):/bin/acceptwatch --env ACCEPTWATCH_BIN=/bin/acceptwatch
E2E_STALL = $(E2E) --with $(TOOLS),$(STALL_TOOLS) --memory 3000 --file $(STALL_BUILT):/stall --env ACCEPTWATCH_STALL=/stall \
	--disk 128 --disk-iops 10 --env ACCEPTWATCH_DISK=/mnt/disk

STALL = internal/kerneltest/testdata/stall
STALL_BUILT = bin/stall

.PHONY: stall-programs
stall-programs: stall-needs ## Build the servers that stop accepting, for the tests of diagnose
	@mkdir -p $(STALL_BUILT)
	@for f in $(STALL)/*.c; do gcc -O1 -fno-omit-frame-pointer -static -pthread -o $(STALL_BUILT)/$$(basename $$f .c) $$f || exit 1; done
	@for d in $(STALL)/go*/; do $(GO) build -o $(STALL_BUILT)/$$(basename $$d) ./$$d || exit 1; done
	@javac -d $(STALL_BUILT) $(STALL)/*.java

.PHONY: soak
soak: build vm-needs stall-programs ## All tests on the kernels between; what must not grow: a million connections, 20,000 listeners, a thousand attaches; takes hours
	ACCEPTWATCH_MODES=$(MODES) $(VMRUN) test -k $(MIDDLE_KERNELS) -j $(JOBS) --timeout 60m ./internal/probe
	ACCEPTWATCH_MODES=restricted,diag $(E2E_STALL) -k $(STALL_KERNELS) ./internal/kerneltest -- -run '$(STALL_TESTS)'
	ACCEPTWATCH_MODES=$(MODES) ACCEPTWATCH_SOAK=$(SOAK) $(VMRUN) test -k $(KERNELS) --tags soak --timeout 10h ./internal/probe -- \
		-run 'TestAttachingA|TestTwentyThousand|TestAMillion' -timeout 10h

.PHONY: bench
bench: build ## Go benchmarks, for benchstat with BENCH_COUNT=10; as root the ring buffer, start and samples too
	@echo "BenchmarkBinarySize 1 $$(stat -c %s $(ACCEPTWATCH)) bytes"
	$(GO) test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) -timeout 2h ./internal/cli ./internal/probe ./internal/event ./internal/listener ./internal/metrics \
		./internal/snapshot ./internal/sockdiag ./internal/owner ./internal/recording ./internal/report

.PHONY: bench-kernel
bench-kernel: ## What tracing costs the kernel, in instructions per connection, explained in internal/probe/COST.md; and stacks, per switch and tick
	$(MAKE) --no-print-directory bench-kernel-connection bench-kernel-stacks

COST = internal/probe/COST.md
COST_KERNELS = 6.12,7.x

.PHONY: bench-kernel-connection
bench-kernel-connection: build vm-needs ## The part per connection, and its page
	@rm -rf bin/bench-kernel
	$(VMRUN) test -k $(COST_KERNELS) --icount --tags kernelbench --timeout 40m --fetch /tmp/cost.json --out bin/bench-kernel \
		./internal/probe -- -run TestKernelCost -timeout 12h
	$(GO) run ./internal/cost/costpage $(COST) $(patsubst %,bin/bench-kernel/%/cost.json,$(subst $(comma), ,$(COST_KERNELS)))

.PHONY: bench-kernel-stacks
bench-kernel-stacks: build bin/places vm-needs ## The part about stacks
	$(STACKS) -j 1 -k 6.12,7.x --icount --tags kernelbench --timeout 25m ./internal/stacks -- -run TestKernelCost -timeout 2h

# Of each kernel that has a budget, by the exact version of its package, nothing may
# cost more; on another one the ratio to empty hooks counts, and figures are printed.
.PHONY: bench-budget
bench-budget: build vm-needs ## Compare what tracing costs the kernel with its budget; UPDATE_BUDGET=1 makes what is measured the budget
	@rm -rf bin/budget
	$(VMRUN) test -k 6.12,7.x -j $(JOBS) --icount --tags kernelbench --timeout 25m --fetch '/tmp/budget/*.json' --out bin/budget \
		--env ACCEPTWATCH_UPDATE_BUDGET=$(UPDATE_BUDGET) ./internal/probe -- -run TestKernelBudget -timeout 2h
	@[ -z "$(UPDATE_BUDGET)" ] || cp bin/budget/*/*.json internal/probe/testdata/budget/

GROWTH = internal/growth/GROWTH.md

.PHONY: bench-growth
bench-growth: build vm-needs ## Write how costs grow with listeners, queues, sockets, rate and processors into internal/growth/GROWTH.md; as root
	@rm -rf bin/growth && mkdir -p bin/growth
	$(VMRUN) test -k 6.12 --icount --memory 3500 --tags kernelbench --timeout 60m ./internal/probe -- -run TestKernelGrowth -timeout 5h > bin/growth/1.log
	$(GO) test -count=1 -tags growth -timeout 60m -v -run '^TestGrowth' ./internal/listener ./internal/cli > bin/growth/2.log
	ACCEPTWATCH_BIN=$(abspath $(ACCEPTWATCH)) $(GO) test -count=1 -tags growth -timeout 60m -v -run '^TestGrowth|^TestWhereTheRing' ./internal/probe > bin/growth/3.log
	cat bin/growth/*.log | $(GO) run ./internal/growth/growthpage $(GROWTH)

# bpftrace needs a shell, and headers for tcpaccept.bt.
PEER_KERNELS ?= 6.1,6.12,7.x
PEER_RATE_KERNELS ?= 6.12
comma = ,
PEER_HEADERS = $(addprefix /usr/include/,endian.h features.h features-time64.h stdc-predef.h linux asm-generic x86_64-linux-gnu)
PEERS = $(VMRUN) test --tags kernelbench --with sh,bpftrace,tcptracer,tcplife,tcpstates --file /usr/sbin/tcpaccept.bt \
	$(addprefix --file ,$(PEER_HEADERS)) --file $(ACCEPTWATCH):/bin/acceptwatch --env ACCEPTWATCH_BIN=/bin/acceptwatch \
	--env "ACCEPTWATCH_PEER_PACKAGES=$$(dpkg-query -W -f '$${Package} $${Version}\n' bpftrace libbpf-tools | paste -sd, | sed 's/,/, /g')" \
	--out bin/bench-peers
PEER_RATES = -run TestPeerRate -timeout 3h

.PHONY: bench-peers
bench-peers: ## What tracing costs beside bpftrace, libbpf-tools and exporters' kprobes, and the page of it; installs those, takes hours
	rm -rf bin/bench-peers
	$(MAKE) --no-print-directory bench-peers-cost bench-peers-rate
	$(GO) run ./internal/peers/peerpage -in bin/bench-peers -page internal/peers $(subst $(comma), ,$(PEER_KERNELS)) host

.PHONY: bench-peers-cost
bench-peers-cost: build vm-needs peers-needs ## The part that counts instructions, in a VM
	$(PEERS) -k $(PEER_KERNELS) --icount --timeout 60m --fetch /tmp/peers.json ./internal/probe -- -run TestPeerCost -timeout 6h

.PHONY: bench-peers-rate
bench-peers-rate: build vm-needs peers-needs ## The part that measures time, in a VM with 2 processors and here, as root
	$(PEERS) -k $(PEER_RATE_KERNELS) --timeout 3h --fetch /tmp/rates.json --env ACCEPTWATCH_RATES=/tmp/rates.json \
		--env ACCEPTWATCH_WHERE='a VM under emulation' --env ACCEPTWATCH_BATCH=2000 ./internal/probe -- $(PEER_RATES)
	mkdir -p bin/bench-peers/host
	ACCEPTWATCH_BIN=$(CURDIR)/$(ACCEPTWATCH) ACCEPTWATCH_RATES=$(CURDIR)/bin/bench-peers/host/rates.json \
		ACCEPTWATCH_WHERE='this host' ACCEPTWATCH_BATCH=10000 $(GO) test -count=1 -tags kernelbench ./internal/probe -v $(PEER_RATES)

.PHONY: kernels
kernels: build vm-needs ## Fetch the kernels of the matrix, and list them
	$(VMRUN) fetch
	$(VMRUN) list

.PHONY: dist
dist: dist-needs ## The archives of a release, in bin/dist: static programs for amd64 and arm64, man pages, completions; with checksums
	GO=$(GO) .ci/dist bin/dist

.PHONY: dist-check
dist-check: dist-needs ## Make them twice from the last commit, in two places, and compare the bytes
	GO=$(GO) .ci/dist-check

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin

.PHONY: vm-needs c-needs race-needs unit-needs browser-needs stall-needs dist-needs peers-needs
vm-needs:
	@.ci/need qemu-system-x86_64=qemu-system-x86 nc=netcat-openbsd ss=iproute2 ip=iproute2 python3=python3 \
		nsenter=util-linux xz=xz-utils zstd=zstd /usr/sbin/mkfs.ext4=e2fsprogs qemu-system-aarch64=qemu-system-arm \
		node=nodejs nginx=nginx haproxy=haproxy redis-server=redis-server java=default-jre-headless /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

c-needs:
	@.ci/need $(CLANG)=$(CLANG) clang-format-19=clang-format-19 llvm-strip-19=llvm-19 \
		/usr/include/bpf/bpf_helpers.h=libbpf-dev shellcheck=shellcheck

race-needs:
	@.ci/need gcc=gcc /usr/include/stdlib.h=libc6-dev

stall-needs:
	@.ci/need gcc=gcc /usr/include/stdlib.h=libc6-dev javac=default-jdk-headless node=nodejs

peers-needs:
	@.ci/need bpftrace=bpftrace /usr/sbin/tcplife=libbpf-tools /usr/include/stdlib.h=libc6-dev

unit-needs:
	@.ci/need zstd=zstd promtool=prometheus systemd-analyze=systemd tmux=tmux \
		gcc=gcc strip=binutils /usr/include/stdlib.h=libc6-dev

dist-needs:
	@.ci/need git=git mandoc=mandoc groff=groff-base

browser-needs:
	@[ -n "$$ACCEPTWATCH_BROWSER" ] || command -v chromium-headless-shell google-chrome >/dev/null || .ci/need chromium=chromium
