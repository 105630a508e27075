package stacks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"acceptwatch/internal/symbol"
)

// threadsOf sorts samples by thread, and those of each by what they weigh.
func threadsOf(all []seen) []Thread {
	threads := []Thread{}
	for _, e := range merged(all) {
		last := len(threads) - 1
		if last < 0 || threads[last].TID != e.tid || threads[last].PID != e.pid {
			threads = append(threads, Thread{PID: e.pid, TID: e.tid, Comm: comm(e.pid, e.tid)})
			last++
		}
		threads[last].Samples = append(threads[last].Samples, e.Sample)
	}
	return threads
}

// merged makes one sample of those whose functions are the same, at whichever
// places in them. It keeps the places of the heaviest.
func merged(all []seen) []seen {
	slices.SortFunc(all, heaviestFirst)
	index := map[string]int{}
	var out []seen
	for _, e := range all {
		key := e.functions()
		i, met := index[key]
		if !met {
			index[key] = len(out)
			out = append(out, e)
			continue
		}
		out[i].Count += e.Count
		out[i].Duration += e.Duration
		out[i].Truncated = out[i].Truncated || e.Truncated
	}
	slices.SortFunc(out, heaviestFirst)
	return out
}

func heaviestFirst(a, b seen) int {
	return cmp.Or(cmp.Compare(a.pid, b.pid), cmp.Compare(a.tid, b.tid),
		cmp.Compare(b.Duration, a.Duration), cmp.Compare(b.Count, a.Count),
		slices.Compare(a.user, b.user), slices.Compare(a.kernel, b.kernel))
}

// functions tells samples apart by their functions, and by addresses where they
// have no name.
func (e *seen) functions() string {
	var b strings.Builder
	fmt.Fprintln(&b, e.pid, e.tid, e.State, e.Now)
	for _, frames := range [][]symbol.Frame{e.User, e.Kernel} {
		for _, f := range frames {
			fmt.Fprintf(&b, "%s %s", f.Module, f.Function)
			if f.Function == "" {
				fmt.Fprintf(&b, "%x", f.Address)
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	return b.String()
}
