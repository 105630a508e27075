// Package vm runs a command of the host in each of the kernels that acceptwatch
// supports: it fetches Debian's kernels, builds an initramfs with the command
// and what it needs, boots that in QEMU and returns the command's exit code, its
// output and the files it leaves, through a channel of their own.
//
// QEMU emulates every instruction: no /dev/kvm is needed, and instructions of the
// guest can be counted ([Run].ICount).
//
// A boot that does not reach init is tried again: under emulation that happens
// now and then. A command that has started is never run twice.
package vm
