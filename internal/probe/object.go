package probe

// Objects are the ELF files of the eBPF programs that are compiled into this
// package, by name. They must not be changed.
func Objects() map[string][]byte {
	return map[string][]byte{"tracing": _TracingBytes, "probing": _ProbingBytes}
}
