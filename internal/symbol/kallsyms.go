package symbol

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// ErrHidden is returned where all addresses of kernel functions read 0.
var ErrHidden = errors.New("the kernel hides its addresses (kernel.kptr_restrict, or no CAP_SYSLOG): its functions have no names")

// parseKallsyms finds the functions that hold the addresses, which ascend, in
// the text of /proc/kallsyms: "address type name [module]" (s_show,
// kernel/kallsyms.c).
func parseKallsyms(r io.Reader, addrs []uint64) ([]Frame, error) {
	frames := make([]Frame, len(addrs))
	for i, a := range addrs {
		frames[i] = Frame{Module: kernelModule, Address: a}
	}
	functions := newNearest[string](addrs)
	visible := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		value, name, ok := kernelFunction(lines.Bytes())
		if !ok {
			continue
		}
		visible = visible || value != 0
		if f := functions.closer(value); f != nil {
			*f = string(name)
		}
	}
	if err := lines.Err(); err != nil {
		return frames, err
	}
	if !visible {
		return frames, ErrHidden
	}
	for i, f := range functions.all() {
		if f.known {
			frames[i].name(f.what)
			frames[i].Offset = addrs[i] - f.value
		}
	}
	return frames, nil
}

const kernelModule = "kernel"

// name sets the function from "name" or "name [module]".
func (f *Frame) name(text string) {
	fields := strings.Fields(text)
	if len(fields) > 0 {
		f.Function = clean(fields[0])
	}
	if len(fields) > 1 {
		f.Module = clean(strings.Trim(fields[1], "[]"))
	}
}

// kernelFunction splits a line of a function; ok is false for other symbols.
func kernelFunction(line []byte) (value uint64, name []byte, ok bool) {
	i := bytes.IndexByte(line, ' ')
	if i < 0 || len(line) < i+4 || line[i+2] != ' ' || !bytes.ContainsRune([]byte("tTwW"), rune(line[i+1])) {
		return 0, nil, false
	}
	value, err := strconv.ParseUint(string(line[:i]), 16, 64)
	return value, line[i+3:], err == nil
}

// ParseKernelStack reads /proc/TID/stack, the leaf first: "[<0>] name+0x1a/0x80"
// or the same and " [module]" (proc_pid_stack, fs/proc/base.c). Addresses are not
// told there. A line of another form is left out.
func ParseKernelStack(text []byte) []Frame {
	var frames []Frame
	for line := range bytes.Lines(text) {
		_, place, ok := bytes.Cut(bytes.TrimSpace(line), []byte("] "))
		if !ok {
			continue
		}
		place, module, _ := bytes.Cut(place, []byte(" "))
		name, rest, ok := bytes.Cut(place, []byte("+0x"))
		offset, _, _ := bytes.Cut(rest, []byte("/"))
		n, err := strconv.ParseUint(string(offset), 16, 64)
		if !ok || err != nil {
			continue
		}
		f := Frame{Module: kernelModule, Offset: n}
		f.name(string(name) + " " + string(module))
		frames = append(frames, f)
	}
	return frames
}
