package collect

import (
	"runtime"
	"strings"
	"time"

	"acceptwatch/internal/diagnose"
)

// system reads the state of the machine; stalls are totals so far.
func (p procFS) system() diagnose.System {
	s := diagnose.System{CPUs: runtime.NumCPU()}
	if text, ok := fileText(string(p), "sys/fs/file-nr"); ok {
		if words := strings.Fields(text); len(words) == 3 {
			s.Files, s.FileLimit = diagnose.Known(number(words[0])), diagnose.Known(number(words[2]))
		}
	}
	stall := func(name, kind string) (m diagnose.Maybe[time.Duration]) {
		if text, ok := fileText(string(p), "pressure/"+name); ok {
			if total, ok := pressure(text, kind); ok {
				m = diagnose.Known(total)
			}
		}
		return m
	}
	s.MemoryStall, s.IOStall, s.CPUStall = stall("memory", "full"), stall("io", "full"), stall("cpu", "some")
	return s
}

func systemSince(now, before diagnose.System) diagnose.System {
	now.MemoryStall = grown(now.MemoryStall, before.MemoryStall)
	now.IOStall = grown(now.IOStall, before.IOStall)
	now.CPUStall = grown(now.CPUStall, before.CPUStall)
	return now
}
