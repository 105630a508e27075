//go:build kernel

package kerneltest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What stops a server from outside.

func stopIt(t *testing.T, p *process) {
	check(t, syscall.Kill(p.pid(), syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(p.pid(), syscall.SIGCONT) })
}

func debugIt(t *testing.T, p *process) {
	debugger := startGroup(t, exec.Command(filepath.Join(stallDirectory(t), "debugger"), itoa(p.pid())))
	debugger.awaitLine("ready")
}

// starveIt puts a server on one CPU with others that want it all, and has it be
// the last to get it.
func starveIt(t *testing.T, p *process) {
	check(t, exec.Command("taskset", "-acp", "0", itoa(p.pid())).Run())
	check(t, exec.Command("chrt", "-ip", "0", itoa(p.pid())).Run())
	for range 3 {
		startGroup(t, exec.Command("taskset", "-c", "0", "sh", "-c", "while :; do :; done"))
	}
}

// group makes a control group with these settings, of version 2 or else of a
// controller of version 1, for a command to be started in.
func group(t *testing.T, cmd *exec.Cmd, controller string, v2, v1 map[string]string) (dir string) {
	t.Helper()
	root, settings := "/sys/fs/cgroup", v2
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root, settings = filepath.Join(root, controller), v1
	} else if controller != "freezer" {
		check(t, os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+controller), 0))
	}
	dir = filepath.Join(root, "acceptwatch-test-"+itoa(os.Getpid()))
	check(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { await(t, "the group to be empty", func() bool { return os.Remove(dir) == nil }) })
	for name, value := range settings {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0))
	}
	inGroup(cmd, dir)
	return dir
}

// inGroup has a command join a group before it begins.
func inGroup(cmd *exec.Cmd, dir string) {
	cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, dir}, cmd.Args...)
	cmd.Path, _ = exec.LookPath("sh")
}

func littleCPU(t *testing.T, cmd *exec.Cmd) {
	group(t, cmd, "cpu", map[string]string{"cpu.max": "2000 100000"},
		map[string]string{"cpu.cfs_quota_us": "2000"})
}

func littleMemory(t *testing.T, cmd *exec.Cmd) {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		if os.Getenv("ACCEPTWATCH_MODES") != "" {
			t.Fatalf("this kernel should have cgroup version 2: %v", err)
		}
		t.Skip("memory.high is of cgroup version 2, which this host does not use")
	}
	group(t, cmd, "memory", map[string]string{"memory.high": "16M"}, nil)
}

func freezable(t *testing.T, cmd *exec.Cmd) { group(t, cmd, "freezer", nil, nil) }

func freezeIt(t *testing.T, p *process) {
	membership, err := os.ReadFile("/proc/" + itoa(p.pid()) + "/cgroup")
	check(t, err)
	name := "acceptwatch-test-" + itoa(os.Getpid())
	file, frozen, thawed := filepath.Join("/sys/fs/cgroup", name, "cgroup.freeze"), "1", "0"
	if _, err := os.Stat(file); err != nil {
		file, frozen, thawed = filepath.Join("/sys/fs/cgroup/freezer", name, "freezer.state"), "FROZEN", "THAWED"
	}
	if !strings.Contains(string(membership), name) {
		t.Fatalf("the server is not in its group: %s", membership)
	}
	check(t, os.WriteFile(file, []byte(frozen), 0))
	t.Cleanup(func() { check(t, os.WriteFile(file, []byte(thawed), 0)) })
}

// deafNameServer gives a command a name server that never answers.
func deafNameServer(t *testing.T, cmd *exec.Cmd) {
	const address = "127.9.9.9:53"
	deaf, err := net.ListenPacket("udp4", address)
	check(t, err)
	t.Cleanup(func() { deaf.Close() })
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	check(t, os.WriteFile(conf, []byte("nameserver 127.9.9.9\noptions timeout:30 attempts:5\n"), 0o644))
	order := filepath.Join(t.TempDir(), "nsswitch.conf")
	check(t, os.WriteFile(order, []byte("hosts: files dns\n"), 0o644))
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		check(t, os.WriteFile("/etc/resolv.conf", nil, 0o644))
	}
	cmd.Args = append([]string{"unshare", "-m", "sh", "-c",
		`mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"`, conf, order}, cmd.Args...)
	cmd.Path, err = exec.LookPath("unshare")
	check(t, err)
}

// fullBackend gives a command a backend whose queue is full, so that it does not
// answer at all.
func fullBackend(t *testing.T, cmd *exec.Cmd) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	check(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(t, syscall.Listen(fd, 1))
	name, err := syscall.Getsockname(fd)
	check(t, err)
	port := itoa(name.(*syscall.SockaddrInet4).Port)
	for range 2 {
		conn, err := net.Dial("tcp4", "127.0.0.1:"+port)
		check(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	cmd.Env = append(cmd.Env, "BACKEND="+port)
}

// smallSomaxconn cuts backlogs for the time of the test. A network namespace of
// its own would hide the server from its clients.
func smallSomaxconn(t *testing.T, _ *exec.Cmd) {
	const file = "/proc/sys/net/core/somaxconn"
	before, err := os.ReadFile(file)
	check(t, err)
	check(t, os.WriteFile(file, []byte("2"), 0))
	t.Cleanup(func() { check(t, os.WriteFile(file, before, 0)) })
}

// needsDisk puts the journal onto a disk: that of a guest, or whatever temporary
// files are on.
func needsDisk(t *testing.T, cmd *exec.Cmd) {
	var fs syscall.Statfs_t
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	dir := os.Getenv("ACCEPTWATCH_DISK")
	if dir == "" {
		dir = t.TempDir()
	}
	check(t, syscall.Statfs(dir, &fs))
	if fs.Type == tmpfs || fs.Type == ramfs {
		t.Fatalf("%s is memory, and no disk: name a directory of one in ACCEPTWATCH_DISK (vmrun: --disk 128 --disk-iops 10)", dir)
	}
	for i, v := range cmd.Env {
		cmd.Env[i] = strings.ReplaceAll(v, "{disk}", filepath.Join(dir, "journal"))
	}
}
