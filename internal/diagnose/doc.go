// Package diagnose says why connections are not accepted: evidence in, verdicts
// out. It is pure. Package collect, below, gathers the evidence.
//
// Each rule is a function with a name and a text that recognises one cause. They
// trust what the kernel says of a thread - its state, its system call, the
// descriptor of that and its peer - before what its stacks say. What is not known
// is never taken as 0, a cause is never named because nothing else was found, and
// several may be: those that explain the others come first.
package diagnose
