package stacks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"acceptwatch/internal/symbol"
)

// deepest is how many frames are followed.
const deepest = 127

// asleep looks at threads that sleep, from outside: those that move meanwhile
// are left out, as nothing of them belongs together.
func (s *Sampler) asleep(threads []thread) []seen {
	var before []thread
	for _, t := range threads {
		if now, err := readThread(t.pid, t.tid); err == nil && now.pid == t.pid {
			before = append(before, now)
		}
	}
	frames := s.framePointers(before)
	started := map[int]thread{}
	for _, t := range threads {
		started[t.tid] = t
	}
	var all []seen
	for _, t := range before {
		e := outside(t, frames[t.tid])
		after, err := readThread(t.pid, t.tid)
		if e == nil || err != nil || after != t {
			continue
		}
		if t == started[t.tid] {
			e.AtLeast = true
			e.Duration = time.Since(s.started)
		}
		all = append(all, *e)
	}
	return all
}

// outside reads a thread's state from /proc; nil if it runs, or has exited.
func outside(t thread, registers kernelThreadRegisters) *seen {
	stat, err := os.ReadFile(taskPath(t.pid, t.tid, "stat"))
	if err != nil {
		return nil
	}
	e := &seen{pid: t.pid, tid: t.tid, Sample: Sample{State: parseStat(stat), Count: 1, Now: true}}
	if e.State == Running || e.State == Exited {
		return nil
	}
	if text, err := os.ReadFile(taskPath(t.pid, t.tid, "stack")); err == nil {
		e.Kernel = symbol.ParseKernelStack(text)
	}
	text, err := os.ReadFile(taskPath(t.pid, t.tid, "syscall"))
	if err != nil {
		return e
	}
	sp, pc, ok := parseSyscall(text)
	if !ok {
		return e
	}
	e.user = []uint64{pc}
	if registers.Pc != pc || registers.Frame < sp {
		return e // its frame pointer is not known, or is none
	}
	if mem, err := os.Open(taskPath(t.pid, t.tid, "mem")); err == nil {
		e.user = append(e.user, follow(mem, registers.Frame)...)
		mem.Close()
	}
	e.cut = len(e.user) > deepest
	return e
}

// parseStat reads the state, which follows the last parenthesis.
func parseStat(text []byte) State {
	_, rest, ok := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(") "))
	if !ok || len(rest) == 0 {
		return OtherWait
	}
	return stateOfLetter(rest[0])
}

// parseSyscall reads the last two numbers of /proc/PID/task/TID/syscall, the
// stack pointer and the program counter (proc_pid_syscall, fs/proc/base.c). A
// running thread has none.
func parseSyscall(text []byte) (sp, pc uint64, ok bool) {
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return 0, 0, false
	}
	last := fields[len(fields)-2:]
	sp, spErr := strconv.ParseUint(string(last[0]), 0, 64)
	pc, pcErr := strconv.ParseUint(string(last[1]), 0, 64)
	return sp, pc, errors.Join(spErr, pcErr) == nil
}

// follow returns the addresses that calls return to, by frame pointers: at each
// lie the caller's and, after it, the address, on amd64 and arm64 both.
func follow(mem io.ReaderAt, frame uint64) []uint64 {
	var addrs []uint64
	var words [16]byte
	for len(addrs) < deepest && frame%8 == 0 && int64(frame) > 0 {
		if _, err := mem.ReadAt(words[:], int64(frame)); err != nil {
			break
		}
		caller, address := binary.LittleEndian.Uint64(words[:]), binary.LittleEndian.Uint64(words[8:])
		if address == 0 {
			break
		}
		addrs = append(addrs, address)
		if caller <= frame {
			break
		}
		frame = caller
	}
	return addrs
}

// framePointers reads the registers of the watched threads that sleep; what
// cannot be read is left out.
func (s *Sampler) framePointers(threads []thread) map[int]kernelThreadRegisters {
	found := map[int]kernelThreadRegisters{}
	if s.registers == nil || len(threads) == 0 {
		return found
	}
	r, err := s.registers.Open()
	if err != nil {
		return found
	}
	defer r.Close()
	for {
		var one kernelThreadRegisters
		if err := binary.Read(r, binary.LittleEndian, &one); err != nil {
			return found
		}
		found[int(one.Tid)] = one
	}
}
