package stacks

// An object for each machine, as registers differ. libbpf's headers come from
// the package libbpf-dev.
//
//go:generate go tool bpf2go -go-package stacks -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -cflags "-mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I../../headers -I../../bpf" -type stack_key -type stack_count -type thread -type thread_registers -type stack_loss -type stack_state kernel ../../bpf/stacks.bpf.c
