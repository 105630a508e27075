package symbol

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strconv"
)

// largestPerfMap bounds how much of a JIT's map is read, in bytes: a line takes
// about 80, and a large program has some 100,000.
const largestPerfMap = 256 << 20

// jitFunction is one line of a perf map.
type jitFunction struct {
	start uint64
	name  string
}

// parsePerfMap finds the functions that hold the addresses, which ascend, in
// lines "start size name", the numbers in hexadecimal (tools/perf/Documentation/jit-interface.txt). A
// later line replaces an earlier one at the same addresses, as a JIT uses its memory
// again. Lines of other forms are passed over: they may be half written.
func parsePerfMap(r io.Reader, addrs []uint64) (map[uint64]jitFunction, error) {
	functions := map[uint64]jitFunction{}
	lines := bufio.NewReaderSize(io.LimitReader(r, largestPerfMap), 64<<10)
	for {
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
		if !ok {
			continue
		}
		i, _ := slices.BinarySearch(addrs, start)
		for ; i < len(addrs) && addrs[i]-start < size; i++ {
			functions[addrs[i]] = jitFunction{start, clean(string(name))}
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
