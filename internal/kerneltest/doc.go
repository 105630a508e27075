// Package kerneltest tests the acceptwatch program from outside, in the kernels
// of the matrix: real servers and clients, signals, pipes, and ss as the
// witness. There is nothing to import; the tests have the build tag kernel.
//
//	go build -trimpath -o bin/acceptwatch ./cmd/acceptwatch   # CGO_ENABLED=0
//	ACCEPTWATCH_MODES=fentry,kprobe,restricted vmrun test --tags kernel \
//		--timeout 25m --with nc,ss,python3,ip,nsenter,nginx,haproxy,redis-server,java \
//		--file bin/acceptwatch:/bin/acceptwatch \
//		--file "$(CGO_ENABLED=0 go tool -n pprof):/bin/pprof" \
//		--env ACCEPTWATCH_BIN=/bin/acceptwatch ./internal/kerneltest
//
// The tests of diagnose, TestServersThatStopAccepting and TestHealthyServers,
// need the programs that `make stall-programs` builds, in the directory that
// ACCEPTWATCH_STALL names. They run on any host, and then in mode diag too:
//
//	make build stall-programs && cd internal/kerneltest &&
//	ACCEPTWATCH_MODES=restricted,diag ACCEPTWATCH_STALL=$PWD/../../bin/stall \
//		ACCEPTWATCH_BIN=$PWD/../../bin/acceptwatch \
//		go test -tags kernel -run 'TestServersThatStop|TestHealthyServers' .
//
// Each is a server as its author might write it; the table in
// stall_programs_test.go says what is to be said of it. ACCEPTWATCH_KEEP names a
// directory for what diagnose says.
//
// ACCEPTWATCH_MODES names the modes that must work. ACCEPTWATCH_EXPECT_MODE is
// the one that must be chosen by itself, if that is not the first of these.
// With --append lockdown=confidentiality only fentry and restricted can work.
//
// The guest is emulated and slow, so nothing here depends on how long anything
// takes: a condition is polled, and a time is bounded by what the test's own
// clock said before and after.
package kerneltest
