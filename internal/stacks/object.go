package stacks

// Objects are the ELF files of the eBPF programs that are compiled into this
// package, by name. They must not be changed.
func Objects() map[string][]byte { return map[string][]byte{"stacks": _KernelBytes} }
