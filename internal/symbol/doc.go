// Package symbol names the functions of stacks: of running processes, by the
// files that they have mapped, and of the kernel.
//
// Names come from, in this order: the symbol tables of the ELF file (.symtab,
// else that of its debug file in /usr/lib/debug/.build-id, and .dynsym), Go's
// table of functions, which strip leaves, and for code that belongs to no file
// the map that a JIT compiler keeps for perf (/tmp/perf-PID.map). A file is opened
// as the process has it mapped, so that a deleted one, or one of another mount
// namespace, is the right one. C++ and Rust names are demangled. Interpreters
// show by their native frames.
//
// What was inlined by a compiler is not told: it is in DWARF alone, which is too
// heavy to be read while a server stalls.
//
// Nothing of a file is kept but the answers: its tables are read once from
// start to end for all addresses that are asked for at a time, in a buffer of
// fixed size. (Go's table of functions is read whole, up to [largestPclntab]
// bytes.) The files are of a process that may be hostile: sizes are bounded, and
// time by a context; links do not lead out of its root, names are cleaned.
package symbol

// Frame is one place of a stack.
type Frame struct {
	// Function is the demangled name; empty if none is known.
	Function string `json:"function,omitempty"`
	// Module is the path of the mapped file as its process sees it, "[vdso]",
	// "[jit]", "kernel", or the name of a kernel module.
	Module string `json:"module,omitempty"`
	// BuildID is the GNU build id of the file in hexadecimal, or Go's as it is.
	BuildID string `json:"build_id,omitempty"`
	// Offset is from the start of the function in bytes (left out: 0); without a
	// function it is where the code is in the file.
	Offset uint64 `json:"offset,omitempty"`
	// Address is as it was executed; 0 if the kernel hides it. Of callers, it is
	// that which the call returns to.
	Address uint64 `json:"address,omitempty"`
}

// Stack is a named chain of calls.
type Stack struct {
	// Frames start with the leaf, which is always right. The others are found by
	// frame pointers. A leaf that calls nothing has none mostly, and code that is
	// compiled without them, as in most of Debian's packages, has none at all: its
	// caller is missing, and what follows may be, or be wrong.
	Frames []Frame `json:"frames"`
	// Truncated says that the chain does not reach a known start of a thread.
	Truncated bool `json:"truncated,omitempty"`
}
