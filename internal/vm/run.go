package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"acceptwatch/internal/vm/qemu"
	"acceptwatch/internal/vm/wire"
)

// File is something that the guest gets.
type File struct {
	Host  string // file or directory of the host; empty: Data is the content
	Guest string // absolute; empty: as on the host
	Data  []byte
	Mode  fs.FileMode // of Data

	Skip      func(rel string) bool // what of a directory is left out; nil: nothing
	Libraries bool                  // bring the shared libraries of what is in it, too
}

func (f File) skip(rel string) bool { return f.Skip != nil && f.Skip(rel) }

// Run is one command in one kernel.
type Run struct {
	Kernel Kernel
	Argv   []string
	Env    []string // NAME=value, added to a small environment of the guest's
	Dir    string   // in the guest; empty: /root
	Stdin  io.Reader
	Stdout io.Writer // nil: discarded
	Stderr io.Writer

	Files    []File
	Binaries []string // programs of the host, by path or by name, with what they need to run
	Fetch    []string // paths or globs in the guest, returned after the run
	Modules  []string // loaded besides the usual ones; parameters may follow a name

	CPUs      int    // 0: 2
	MemoryMiB int    // 0: what the files need, and a gigabyte
	Append    string // kernel arguments
	ICount    bool   // count instructions: 1 CPU, and 1 ns of guest time each
	Disk      Disk
	// Timeout bounds the command, from its start; 0: 10 minutes. The command
	// gets a SIGQUIT when it is over, so that a Go program says where it is.
	Timeout time.Duration

	Console io.Writer // gets what the kernel prints; nil: kept for errors only
	Init    string    // a static vmrun for the guest; empty: found or built
}

// Result is what came of a run.
type Result struct {
	ExitCode int               // 128 + the signal when one ended the command
	Files    map[string][]byte // what Fetch asked for, by path
	Console  string            // the last 200 lines of it
	Release  string            // uname -r
	Boot     time.Duration     // from the emulator's start until init was ready
	Elapsed  time.Duration     // of the command

	FailedBoots []*BootError // those that did not reach init before the one that did
}

const (
	defaultTimeout = 10 * time.Minute
	// quitGrace is how long a command may still write after its SIGQUIT.
	quitGrace = 5 * time.Second
	// endGrace is how long an emulator may take to end after its channel has.
	endGrace = 5 * time.Second
	maxTries = 3
	// bootSilence is how long a booting machine may print nothing before it
	// counts as hung: on an idle host there is never a second without a line.
	bootSilence = 30 * time.Second
)

// Do boots the kernel and runs the command. A command that ran to its end gives
// a Result, and an *ExitError if its code was not 0. The other errors are
// *BootError, *TimeoutError and *CrashError, and ctx's; a Result beside them tells
// how far it got.
func (r *Run) Do(ctx context.Context) (*Result, error) {
	if len(r.Argv) == 0 {
		return nil, errors.New("run in a virtual machine: no command")
	}
	arch, ok := qemu.Arches[r.Kernel.Arch]
	if !ok {
		return nil, fmt.Errorf("no emulator for the architecture %q", r.Kernel.Arch)
	}
	disk, err := r.Disk.image(ctx)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	initramfs, size, err := r.initramfs(ctx)
	if err != nil {
		return nil, err
	}
	defer initramfs.Close()
	config := qemu.Config{
		Arch: arch, Image: r.Kernel.Image,
		Initrd: nameless(initramfs), Disk: qemu.Disk{Image: nameless(disk), IOPS: r.Disk.IOPS},
		CPUs: r.CPUs, MemoryMiB: r.MemoryMiB, Append: r.Append, ICount: r.ICount,
		PortName: wire.PortName,
	}
	if config.CPUs == 0 {
		config.CPUs = 2
	}
	if config.MemoryMiB == 0 {
		// The archive and its content are both in memory for a while, and
		// files may take up half of it.
		config.MemoryMiB = 1024 + int(3*size>>20)
	}
	return r.boot(ctx, bootSilence, func(ctx context.Context) (*qemu.Machine, error) {
		return qemu.Start(ctx, config, r.Console)
	})
}

// nameless is where the emulator finds a file that has no name any more, so that
// nothing is left behind, whatever happens; empty for none.
func nameless(file *os.File) string {
	if file == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
}

// boot starts machines until one reaches init, and runs the command there.
func (r *Run) boot(ctx context.Context, silence time.Duration, start func(context.Context) (*qemu.Machine, error)) (*Result, error) {
	var failed []*BootError
	for try := 1; ; try++ {
		machine, err := start(ctx)
		if err != nil {
			return nil, err
		}
		result, err := r.attend(ctx, machine, silence)
		crash, boot := new(CrashError), new(BootError)
		if errors.As(err, &crash) || errors.As(err, &boot) {
			machine.AwaitEnd(endGrace)
		}
		machine.Stop()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if result != nil {
			result.Console, result.FailedBoots = machine.Console.String(), failed
		}
		switch e := err.(type) {
		case *BootError:
			e.Tries, e.Console = try, machine.Console.String()
			if err := machine.Err(); err != nil {
				e.Reason = "the emulator failed: " + err.Error()
			}
			if try < maxTries {
				failed = append(failed, e)
				continue
			}
		case *CrashError:
			e.Console = machine.Console.String()
			if err := machine.Err(); err != nil {
				e.Reason += "; the emulator failed: " + err.Error()
			}
		case *TimeoutError:
			e.Console = machine.Console.String()
		}
		return result, err
	}
}

// initramfs writes the initial file system into a file without a name.
func (r *Run) initramfs(ctx context.Context) (*os.File, int64, error) {
	file, err := os.CreateTemp("", "acceptwatch-initramfs-")
	if err != nil {
		return nil, 0, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, 0, err
	}
	if err := r.writeInitramfs(ctx, file); err != nil {
		file.Close()
		return nil, 0, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, size, nil
}
