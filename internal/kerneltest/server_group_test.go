//go:build kernel

package kerneltest

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// thread is one of a server's.
type thread struct {
	pid, tid int
	name     string
	state    string // as /proc has it: T is stopped
}

// threads are those of the server's processes now.
func (s *server) threads() []thread {
	s.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	check(s.t, err)
	var list []thread
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// proc(5): tid (name) state ppid pgrp; the name may contain anything.
		name := string(text[strings.IndexByte(string(text), '(')+1 : strings.LastIndexByte(string(text), ')')])
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if f[2] != itoa(s.pid()) {
			continue
		}
		parts := strings.Split(file, "/")
		pid, err := strconv.Atoi(parts[2])
		check(s.t, err)
		tid, err := strconv.Atoi(parts[4])
		check(s.t, err)
		list = append(list, thread{pid, tid, name, f[0]})
	}
	return list
}

// workers are its processes but the first.
func (s *server) workers() []int {
	s.t.Helper()
	var pids []int
	for _, th := range s.threads() {
		if th.pid != s.pid() && !slices.Contains(pids, th.pid) {
			pids = append(pids, th.pid)
		}
	}
	return pids
}

// halt stops processes, and returns when none of their threads runs.
func (s *server) halt(pids ...int) {
	s.t.Helper()
	for _, pid := range pids {
		check(s.t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	s.await("the stop", func() bool {
		return !slices.ContainsFunc(s.threads(), func(th thread) bool {
			return slices.Contains(pids, th.pid) && th.state != "T"
		})
	})
}

// resume continues what was stopped.
func (s *server) resume(pids ...int) {
	s.t.Helper()
	for _, pid := range pids {
		check(s.t, syscall.Kill(pid, syscall.SIGCONT))
	}
}

// socketOf is the listening socket that a process accepts from, of those that it
// has: the one that its epoll watches.
func (s *server) socketOf(rows []socket, pid int) socket {
	s.t.Helper()
	files, err := filepath.Glob("/proc/" + itoa(pid) + "/fdinfo/*")
	check(s.t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(s.t, err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if f[0] != "tfd:" {
				continue
			}
			for _, row := range s.listening(rows) {
				if strings.Contains(row.users, ",pid="+itoa(pid)+",fd="+f[1]+")") {
					return row
				}
			}
		}
	}
	s.t.Fatalf("the epoll of process %d watches none of %+v", pid, s.listening(rows))
	return socket{}
}

// kill ends all of its processes.
func (s *server) kill() {
	s.t.Helper()
	check(s.t, syscall.Kill(-s.pid(), syscall.SIGKILL))
}
