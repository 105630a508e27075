package probe

// One C source, two objects: tracing programs, which do not depend on the
// machine, and those that read by probe, among them kprobes, which read registers. libbpf's headers come from the
// package libbpf-dev.
//
//go:generate go tool bpf2go -go-package probe -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I../../headers -I../../bpf" -type event -type loss -type event_kind -type event_flag -type histogram_slot tracing ../../bpf/acceptwatch.bpf.c
//go:generate go tool bpf2go -go-package probe -target amd64,arm64 -no-global-types -cc clang-19 -strip llvm-strip-19 -cflags "-mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I../../headers -I../../bpf -DACCEPTWATCH_PROBING" probing ../../bpf/acceptwatch.bpf.c
//go:generate go tool bpf2go -go-package probe -target bpfel -output-suffix _test -no-global-types -cc clang-19 -strip llvm-strip-19 -cflags "-mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I../../headers -I../../bpf" bucket ../../bpf/bucket_test.bpf.c
//go:generate go tool bpf2go -go-package probe -target amd64,arm64 -output-suffix _test -tags kernelbench -cc clang-19 -strip llvm-strip-19 -cflags "-mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I../../headers -I../../bpf" -type wait_bucket exporter ../../bpf/exporter_test.bpf.c
