package symbol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// process is a running one whose files are read.
type process struct {
	pid      int
	mappings []mapping // executable, ascending
	root     *os.File
	errs     []error
}

func openProcess(pid int) (*process, error) {
	f, err := os.Open(procPath(pid, "maps"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mappings, err := parseMaps(f)
	if err != nil {
		return nil, err
	}
	if len(mappings) == 0 {
		return nil, errors.New("it has exited, or is a kernel thread")
	}
	return &process{pid: pid, mappings: mappings}, nil
}

func (p *process) close() {
	if p.root != nil {
		p.root.Close()
	}
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// failed remembers an error of one file.
func (p *process) failed(m mapping, err error) {
	p.errs = append(p.errs, fmt.Errorf("read %s: %w", clean(m.path), err))
}

// find returns the index of the mapping that an address lies in, -1 if in none.
func (p *process) find(addr uint64) int {
	i, _ := slices.BinarySearchFunc(p.mappings, addr, func(m mapping, a uint64) int {
		if m.end <= a {
			return -1
		}
		return 1
	})
	if i == len(p.mappings) || addr < p.mappings[i].start {
		return -1
	}
	return i
}

// byFile sorts addresses by the file that they lie in, which is named by the
// index of one of its mappings. Those in no mapping are left out.
func (p *process) byFile(addrs []uint64) map[int][]uint64 {
	type file struct {
		device string
		inode  uint64
	}
	first := map[file]int{}
	files := map[int][]uint64{}
	for _, a := range addrs {
		i := p.find(a)
		if i < 0 {
			continue
		}
		if m := p.mappings[i]; m.inode != 0 {
			of := file{m.device, m.inode}
			if _, met := first[of]; !met {
				first[of] = i
			}
			i = first[of]
		}
		files[i] = append(files[i], a)
	}
	return files
}

// fileOffset is where the code at an address that lies in a mapping is in its
// file, in bytes.
func (p *process) fileOffset(addr uint64) uint64 {
	m := p.mappings[p.find(addr)]
	return addr - m.start + m.offset
}

// identity tells files apart, and a file from what it was before.
type identity struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

// largestVDSO bounds the code that the kernel maps into each process, in bytes.
const largestVDSO = 1 << 20

// open opens what is mapped. Without an error and without data, it is no file.
func (p *process) open(m mapping) (data io.ReaderAt, id identity, done func(), err error) {
	if m.path == vdsoPath {
		code, err := p.vdso(m)
		return bytes.NewReader(code), identity{inode: m.start, size: int64(len(code))}, func() {}, err
	}
	if m.inode == 0 {
		return nil, identity{}, nil, nil
	}
	f, st, err := p.openMapped(m)
	if err != nil {
		return nil, identity{}, nil, err
	}
	return f, identity{uint64(st.Dev), st.Ino, st.Size, st.Ctim}, func() { f.Close() }, nil
}

func (p *process) vdso(m mapping) ([]byte, error) {
	mem, err := os.Open(procPath(p.pid, "mem"))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	code := make([]byte, min(m.end-m.start, largestVDSO))
	_, err = mem.ReadAt(code, int64(m.start))
	return code, err
}

// openMapped opens the file of a mapping: the mapping itself where that is
// permitted (CAP_SYS_ADMIN, or CAP_CHECKPOINT_RESTORE from 5.9 on), the path in
// the root of the process, or what the process was started from, if they are
// the same file still.
func (p *process) openMapped(m mapping) (*os.File, *unix.Stat_t, error) {
	direct := fmt.Sprintf("map_files/%x-%x", m.start, m.end)
	f, st, err := openRegular(unix.AT_FDCWD, procPath(p.pid, direct), 0)
	if err == nil {
		return f, st, nil
	}
	errs := []error{err}
	if !m.deleted {
		f, st, err = p.openInRoot(m.path)
		if err == nil && st.Ino == m.inode {
			return f, st, nil
		}
		errs = append(errs, replaced(f, err))
	}
	f, st, err = openRegular(unix.AT_FDCWD, procPath(p.pid, "exe"), 0)
	if err == nil && st.Ino == m.inode {
		return f, st, nil
	}
	return nil, nil, errors.Join(append(errs, replaced(f, err))...)
}

// replaced closes a file that is another than the mapped one, and says so.
func replaced(f *os.File, err error) error {
	if err != nil {
		return err
	}
	f.Close()
	return errors.New("the file was replaced since the process mapped it")
}

// openInRoot opens a path as the process sees it; links do not lead out.
func (p *process) openInRoot(path string) (*os.File, *unix.Stat_t, error) {
	if p.root == nil {
		root, err := os.OpenFile(procPath(p.pid, "root"), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, nil, err
		}
		p.root = root
	}
	return openRegular(int(p.root.Fd()), path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openRegular opens a regular file and nothing else: to open a device or a pipe
// can have effects, or block.
func openRegular(dir int, path string, resolve uint64) (*os.File, *unix.Stat_t, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	return f, &st, err
}

// debugFile opens the symbols that distributions package apart, from the
// process's root or ours; nil if there are none.
func (p *process) debugFile(buildID string) (io.ReaderAt, func()) {
	if len(buildID) < 4 || !isHex(buildID) {
		return nil, nil
	}
	path := "/usr/lib/debug/.build-id/" + buildID[:2] + "/" + buildID[2:] + ".debug"
	f, _, err := p.openInRoot(path)
	if err != nil {
		f, _, err = openRegular(unix.AT_FDCWD, path, 0)
	}
	if err != nil {
		return nil, nil
	}
	return f, func() { f.Close() }
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
