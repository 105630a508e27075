//go:build !amd64

package qemu

// hostTSC is 0: the emulated counter is not the host's.
func hostTSC() int64 { return 0 }
