package symbol

import "slices"

// starts are the functions that threads begin in. What calls main in C has no
// name where libc is stripped.
var starts = []string{
	"main", "_start", "__libc_start_main", "__libc_start_call_main",
	"clone", "__clone", "clone3", "__clone3", "start_thread", "thread_start",
	"runtime.goexit", "runtime.mstart", "runtime.rt0_go",
}

// truncated says whether a named chain ends before the start of its thread. It
// reaches it if one of its last two frames is a start.
func truncated(frames []Frame) bool {
	last := frames[max(0, len(frames)-2):]
	return len(frames) > 0 && !slices.ContainsFunc(last, func(f Frame) bool {
		return slices.Contains(starts, f.Function)
	})
}
