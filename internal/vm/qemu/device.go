// Package qemu runs one virtual machine in QEMU without hardware help, its
// console apart from a channel of its own.
package qemu

import (
	"debug/elf"
	"fmt"
	"strings"
)

// device is one reason for some arguments, of QEMU or of the kernel.
type device interface {
	arguments() []string
	kernel() []string
}

// Arch is what differs between architectures.
type Arch struct {
	Name    string // Debian's, as amd64
	Binary  string // the emulator
	Package string // Debian's package with it
	Machine string
	CPU     string
	Console string   // the kernel's name of the first serial port
	Kernel  []string // further kernel arguments
	Flavour string   // how Debian's kernel packages end
	ELF     elf.Machine
}

// Arches is the table of architectures. KVM is never used: runs are the same
// everywhere, with or without it.
//
// The processor is the one with every feature that the emulator has: some
// kernels need more than the oldest.
var Arches = map[string]Arch{
	"amd64": {
		Name: "amd64", Binary: "qemu-system-x86_64", Package: "qemu-system-x86",
		Machine: "q35", CPU: "max", Console: "ttyS0", Flavour: "cloud-amd64", ELF: elf.EM_X86_64,
		Kernel: []string{
			// The test that the timer interrupt arrives counts loops, and
			// panics when a busy host does not let the emulator run.
			"no_timer_check",
		},
	},
	"arm64": {
		Name: "arm64", Binary: "qemu-system-aarch64", Package: "qemu-system-arm",
		Machine: "virt,gic-version=max", Console: "ttyAMA0", Flavour: "cloud-arm64", ELF: elf.EM_AARCH64,
		// The kernel's functions sign their return addresses: with the
		// architecture's own cipher the same tests of the probe took twice
		// the host's processor time.
		CPU: "max,pauth-impdef=on",
	},
}

// Config is the machine to run.
type Config struct {
	Arch      Arch
	Image     string // of the kernel
	Initrd    string
	CPUs      int
	MemoryMiB int
	Append    string // more kernel arguments
	ICount    bool   // one virtual ns per instruction, whatever the host does
	PortName  string // of the channel, as the guest sees it
	Disk      Disk

	tsc int64 // kHz: of the emulated time stamp counter; 0: not known
}

// Disk is one that the guest may write to; without an image there is none.
type Disk struct {
	Image string // raw
	IOPS  int    // so many requests a second, at most; 0: any number
}

// portDescriptor is the descriptor that the emulator inherits the channel as.
const portDescriptor = 3

// arguments is the command line after the emulator's name.
func (c Config) arguments() []string {
	devices := []device{
		bare{}, board{c.Arch}, emulation{c.ICount, c.CPUs}, memory{c.MemoryMiB},
		boot{c.Image, c.Initrd}, console{c.Arch.Console}, endOnReset{}, clock{c},
		entropy{}, noSelfTests{}, channel{c.PortName}, c.Disk, more(c.Append),
	}
	var args, kernel []string
	for _, d := range devices {
		args = append(args, d.arguments()...)
		kernel = append(kernel, d.kernel()...)
	}
	return append(args, "-append", strings.Join(kernel, " "))
}

// bare leaves out what QEMU adds on its own: a network card, a display, a
// monitor. Every device costs time to probe.
type bare struct{}

func (bare) arguments() []string {
	return []string{"-nodefaults", "-no-user-config", "-display", "none"}
}
func (bare) kernel() []string { return nil }

// board is the machine and its processor.
type board struct{ Arch }

func (b board) arguments() []string { return []string{"-machine", b.Machine, "-cpu", b.CPU} }
func (b board) kernel() []string    { return b.Kernel }

// emulation runs the virtual processors by turns, in one thread. With a thread
// each, as QEMU can, a processor now and then meets an instruction that another
// one has replaced long before: Linux changes its code whenever a probe comes or
// goes, and then panics at a breakpoint that is none of its ("Oops: int3"), once
// in some hundred runs. It is not faster either. Counting instructions allows one
// processor, and time then comes from the count alone, with idle time skipped.
type emulation struct {
	icount bool
	cpus   int
}

func (e emulation) arguments() []string {
	args := []string{"-accel", "tcg,thread=single"}
	if e.icount {
		return append(args, "-icount", "shift=0,sleep=off", "-smp", "1")
	}
	return append(args, "-smp", fmt.Sprint(e.cpus))
}

func (e emulation) kernel() []string {
	if e.icount {
		return []string{"nokaslr"} // the same addresses, so the same instructions
	}
	return nil
}

type memory struct{ mib int }

func (m memory) arguments() []string { return []string{"-m", fmt.Sprint(m.mib)} }
func (m memory) kernel() []string    { return nil }

// boot starts the kernel directly: no boot loader, no disk.
type boot struct{ image, initrd string }

func (b boot) arguments() []string { return []string{"-kernel", b.image, "-initrd", b.initrd} }
func (b boot) kernel() []string    { return []string{"rdinit=/init"} }

// console is the first serial port, on the emulator's standard output.
type console struct{ port string }

func (c console) arguments() []string {
	return []string{"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
}
func (c console) kernel() []string { return []string{"console=" + c.port} }

// endOnReset makes any end of the kernel the end of the emulator: a panic
// resets at once, a bug panics, and a reset exits.
type endOnReset struct{}

func (endOnReset) arguments() []string { return []string{"-no-reboot"} }
func (endOnReset) kernel() []string    { return []string{"panic=-1", "oops=panic"} }

// clock tells the kernel how fast its time stamp counter is, which is the
// host's. On a busy host it finds out wrongly: against the emulated PIT it
// measured a tenth, and its clock then ran ten times too fast.
type clock struct{ Config }

func (clock) arguments() []string { return nil }
func (c clock) kernel() []string {
	if c.Arch.Name != "amd64" {
		return nil
	}
	args := []string{"tsc=reliable"}
	if c.tsc != 0 && !c.ICount { // which counts instructions in it, too
		args = append(args, fmt.Sprintf("tsc_early_khz=%d", c.tsc))
	}
	return args
}

// entropy lets the kernel trust the emulated RDRAND: else programs that want
// random numbers wait for a machine without devices to gather some.
type entropy struct{}

func (entropy) arguments() []string { return nil }
func (entropy) kernel() []string    { return []string{"random.trust_cpu=on"} }

// noSelfTests leaves out the kernel's tests of its ciphers, which take a second
// when every instruction is emulated.
type noSelfTests struct{}

func (noSelfTests) arguments() []string { return nil }
func (noSelfTests) kernel() []string    { return []string{"cryptomgr.notests"} }

// channel is a virtio-serial port on an inherited socket: it carries some
// 30 MB/s under emulation, where a second serial port carries 0.2 MB/s.
type channel struct{ name string }

func (c channel) arguments() []string {
	return []string{
		"-chardev", fmt.Sprintf("socket,id=channel,fd=%d", portDescriptor),
		"-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=channel,name=" + c.name,
	}
}
func (channel) kernel() []string { return nil }

func (d Disk) arguments() []string {
	if d.Image == "" {
		return nil
	}
	drive := "file=" + d.Image + ",if=none,id=disk,format=raw"
	if d.IOPS > 0 {
		drive += fmt.Sprintf(",throttling.iops-total=%d", d.IOPS)
	}
	return []string{"-drive", drive, "-device", "virtio-blk-pci,drive=disk"}
}
func (Disk) kernel() []string { return nil }

// more is what the caller appends, last, so that it wins.
type more string

func (more) arguments() []string { return nil }
func (m more) kernel() []string  { return strings.Fields(string(m)) }
