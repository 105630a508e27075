package symbol

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// largestPerfMap bounds how much of a JIT's map is read, in bytes: a line takes
// about 80, and a large program has some 100,000.
const largestPerfMap = 256 << 20

// largestFunction bounds the size of a function that is believed, in bytes. One
// that claims all memory would be met at each address.
const largestFunction = 16 << 20

// lineChunk is how many lines are read between looks at the context.
const lineChunk = 256

// jitFunction is one line of a perf map.
type jitFunction struct {
	start uint64
	name  string
}

// parsePerfMap finds the functions that hold the addresses, which ascend, in
// lines "start size name", the numbers in hexadecimal (tools/perf/Documentation/jit-interface.txt). A
// later line replaces an earlier one at the same addresses, as a JIT uses its memory
// again. Lines of other forms are passed over: they may be half written. What was
// found before the context ends comes with the error.
func parsePerfMap(ctx context.Context, r io.Reader, addrs []uint64) (map[uint64]jitFunction, error) {
	functions := map[uint64]jitFunction{}
	defer func() {
		for a, f := range functions {
			functions[a] = jitFunction{f.start, clean(f.name)}
		}
	}()
	lines := bufio.NewReaderSize(io.LimitReader(r, largestPerfMap), 64<<10)
	for n := 0; ; n++ {
		if n%lineChunk == 0 && ctx.Err() != nil {
			return functions, fmt.Errorf("read the map of a JIT compiler: it could not be read in time: %w", ctx.Err())
		}
		line, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return functions, nil
		case err == bufio.ErrBufferFull:
			// A name longer than the buffer: the rest of it is no line.
			if err := skipLine(lines); err != nil {
				return functions, err
			}
			continue
		case err != nil:
			return functions, err
		}
		start, size, name, ok := perfMapLine(line)
		i, _ := slices.BinarySearch(addrs, start)
		if !ok || size > largestFunction || i == len(addrs) || addrs[i]-start >= size {
			continue
		}
		for f := (jitFunction{start, string(name)}); i < len(addrs) && addrs[i]-start < size; i++ {
			functions[addrs[i]] = f
		}
	}
}

func perfMapLine(line []byte) (start, size uint64, name []byte, ok bool) {
	fields := bytes.SplitN(bytes.TrimSpace(line), []byte(" "), 3)
	if len(fields) != 3 {
		return 0, 0, nil, false
	}
	start, err := strconv.ParseUint(string(bytes.TrimPrefix(fields[0], []byte("0x"))), 16, 64)
	if err != nil {
		return 0, 0, nil, false
	}
	size, err = strconv.ParseUint(string(bytes.TrimPrefix(fields[1], []byte("0x"))), 16, 64)
	return start, size, fields[2], err == nil
}

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		switch err {
		case nil, io.EOF:
			return nil
		case bufio.ErrBufferFull:
		default:
			return err
		}
	}
}
