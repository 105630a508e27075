package symbol

import "slices"

// starts are the functions that threads begin in. What calls main in C has no
// name where libc is stripped, and mostly no frame pointer.
var starts = []string{
	"main", "_start", "__libc_start_main", "__libc_start_call_main",
	"runtime.goexit", "runtime.mstart", "runtime.rt0_go", "start_thread", "thread_start",
}

// clones are where new threads begin; as a leaf they make one.
var clones = []string{"clone", "__clone", "clone3", "__clone3"}

// ended takes off what follows the start of the thread, and says whether a chain
// has none: it is truncated.
func ended(frames []Frame) (chain []Frame, truncated bool) {
	isStart := func(i int) bool {
		return i < len(frames) && (slices.Contains(starts, frames[i].Function) || i > 0 && slices.Contains(clones, frames[i].Function))
	}
	for i := range frames {
		if !isStart(i) {
			continue
		}
		for isStart(i + 1) {
			i++
		}
		return frames[:i+1], false
	}
	return frames, len(frames) > 0
}
