package stacks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// thread is one that is watched off the CPU.
type thread struct {
	tid, pid int
	switches uint64 // that it had made when it was found
}

// firstNamespace is the inode of the pid namespace that the kernel starts with
// (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const firstNamespace = "pid:[4026531836]"

// ErrPIDNamespace is returned where thread ids mean others to the kernel.
var ErrPIDNamespace = errors.New("take stacks: acceptwatch runs in a pid namespace of its own, where the kernel knows threads by other ids; run it in the host's (docker run --pid=host, hostPID: true)")

func inFirstNamespace() error {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return fmt.Errorf("take stacks: %w", err)
	}
	if name != firstNamespace {
		return ErrPIDNamespace
	}
	return nil
}

// findThreads leaves out those that have exited.
func findThreads(tids []int) []thread {
	var threads []thread
	for _, tid := range tids {
		if t, err := readThread(tid, tid); err == nil {
			threads = append(threads, t)
		}
	}
	return threads
}

// readThread reads a thread's status; any thread of its process will do for pid.
func readThread(pid, tid int) (thread, error) {
	text, err := os.ReadFile(taskPath(pid, tid, "status"))
	if err != nil {
		return thread{}, err
	}
	return parseStatus(bytes.NewReader(text), tid)
}

// parseStatus reads /proc/PID/task/TID/status.
func parseStatus(r io.Reader, tid int) (thread, error) {
	t := thread{tid: tid}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch key {
		case "Tgid", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
		default:
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return thread{}, fmt.Errorf("parse status: %s: %w", key, err)
		}
		if key == "Tgid" {
			t.pid = int(n)
		} else {
			t.switches += n
		}
	}
	if t.pid == 0 {
		return thread{}, errors.Join(errors.New("parse status: no Tgid"), lines.Err())
	}
	return t, nil
}

func taskPath(pid, tid int, name string) string {
	return fmt.Sprintf("/proc/%d/task/%d/%s", pid, tid, name)
}

// comm is empty if the thread has exited.
func comm(pid, tid int) string {
	text, err := os.ReadFile(taskPath(pid, tid, "comm"))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSuffix(text, []byte("\n")))
}

// openProcesses keeps a hold on the processes, so that one that takes the pid
// of another is not taken for it. Those that have exited are left out.
func openProcesses(o *Options, threads []thread) map[int]*os.File {
	pids := slices.Clone(o.Processes)
	for _, t := range threads {
		pids = append(pids, t.pid)
	}
	open := map[int]*os.File{}
	for _, pid := range pids {
		if open[pid] != nil {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			open[pid] = os.NewFile(uintptr(fd), "pidfd")
		}
	}
	return open
}

// alive says whether a process is the one that it was at the start.
func (s *Sampler) alive(pid int) bool {
	p := s.processes[pid]
	if p == nil {
		return false
	}
	err := unix.PidfdSendSignal(int(p.Fd()), 0, nil, 0)
	return err == nil || errors.Is(err, unix.EPERM) // there, and another user's: no CAP_KILL
}
