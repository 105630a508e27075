package symbol

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// mapping is one executable line of /proc/PID/maps.
type mapping struct {
	start, end uint64
	offset     uint64 // of start in the file, in bytes
	device     string // major:minor in hexadecimal
	inode      uint64 // 0: no file
	path       string // as in the process's mount namespace
	deleted    bool
}

const (
	vdsoPath    = "[vdso]"
	deletedMark = " (deleted)"
	// most is how many executable mappings of a process are kept; the limit on
	// all of its mappings (vm.max_map_count) is 65530 by default.
	most = 1 << 16
)

// parseMaps reads /proc/PID/maps (show_map_vma, fs/proc/task_mmu.c) and keeps
// what is executable, in ascending order.
func parseMaps(r io.Reader) ([]mapping, error) {
	var list []mapping
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 8<<10), 64<<10)
	for lines.Scan() {
		m, executable, err := parseMapping(lines.Text())
		if err != nil {
			return nil, err
		}
		if executable && len(list) < most {
			list = append(list, m)
		}
	}
	return list, lines.Err()
}

func parseMapping(line string) (m mapping, executable bool, err error) {
	bad := func() (mapping, bool, error) {
		return mapping{}, false, fmt.Errorf("parse maps: unexpected line %q", line)
	}
	// The path may hold blanks; what is before it does not.
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 || len(fields[1]) != 4 {
		return bad()
	}
	start, end, ok := strings.Cut(fields[0], "-")
	numbers := []struct {
		text string
		base int
		to   *uint64
	}{{start, 16, &m.start}, {end, 16, &m.end}, {fields[2], 16, &m.offset}, {fields[4], 10, &m.inode}}
	for _, n := range numbers {
		if *n.to, err = strconv.ParseUint(n.text, n.base, 64); err != nil {
			ok = false
		}
	}
	if !ok {
		return bad()
	}
	m.device = fields[3]
	if len(fields) == 6 {
		m.path, m.deleted = strings.CutSuffix(strings.TrimLeft(fields[5], " "), deletedMark)
	}
	return m, fields[1][2] == 'x', nil
}
