package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
)

func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if after := openDescriptors(); after > before+2 { // the poller's own two
		fmt.Fprintf(os.Stderr, "leaked descriptors: %d before, %d after\n", before, after)
		code = 1
	}
	os.Exit(code)
}

func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

// needRoot skips only where the kernel would rightly refuse.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
}

// newNS makes a namespace that lives as long as the test, in a child process
// that is in it.
func newNS(t *testing.T) (NS, int) {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal("start a process in a new network namespace:", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	ns, err := Resolve(fmt.Sprint(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return ns, cmd.Process.Pid
}

func TestCurrentIsListedAndResolvable(t *testing.T) {
	here, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	all, errs := List()
	for _, err := range errs {
		// Even root may be refused a process: by a security module, or in a
		// container.
		var denied *DeniedError
		if !errors.As(err, &denied) {
			t.Error(err)
		}
	}
	if !slices.ContainsFunc(all, func(ns NS) bool { return ns.Inode == here.Inode }) {
		t.Errorf("%v is not among %v", here, all)
	}
	for _, name := range []string{
		fmt.Sprint(os.Getpid()), fmt.Sprint(here.Inode), here.String(), here.Path, "/proc/self/ns/net",
	} {
		got, err := Resolve(name)
		if err != nil || got.Inode != here.Inode {
			t.Errorf("Resolve(%q) = %v, %v; want %v", name, got, err, here)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		want error
	}{
		{"", nil},
		{"no-such-name", nil},
		{"4194304", os.ErrNotExist},
		{"4294967295", ErrNotFound},
		{"42949672960", ErrNotFound},
		{"net:[7]", ErrNotFound},
		{file, ErrNotNetNS},
		{"/proc/self/ns/mnt", ErrNotNetNS},
		{file + "-missing", os.ErrNotExist},
	} {
		ns, err := Resolve(tt.name)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("Resolve(%q) = %v, %v; want error %v", tt.name, ns, err, tt.want)
		}
	}
}

func TestDoRunsInsideAndComesBack(t *testing.T) {
	ns, _ := newNS(t)
	here, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	if ns.Inode == here.Inode {
		t.Fatal("the child process is in our namespace")
	}

	want := errors.New("the function's own error")
	for range 20 {
		err = Do(ns, func() error {
			inside, err := Current()
			if err != nil {
				return err
			}
			if inside.Inode != ns.Inode {
				return fmt.Errorf("in %v instead of %v", inside, ns)
			}
			if unix.Gettid() == os.Getpid() {
				return errors.New("on the first thread, whose namespace is the process's for others")
			}
			ifaces, err := net.Interfaces()
			if err != nil || len(ifaces) == 0 || ifaces[0].Flags&net.FlagUp != 0 {
				return fmt.Errorf("a new namespace has one interface, down; got %v, %v", ifaces, err)
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}

	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		link, err := os.Readlink(filepath.Join("/proc/self/task", task.Name(), "ns/net"))
		if err == nil && link != here.String() {
			t.Errorf("thread %s was left in %s", task.Name(), link)
		}
	}
}

func TestDoInOwnNamespaceNeedsNoPrivilege(t *testing.T) {
	here, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	ran := false
	if err := Do(here, func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran %v, error %v", ran, err)
	}
}

// The path of a process that has exited must not lead to whatever process has
// its pid now.
func TestDoFindsAnotherPathToTheSameInode(t *testing.T) {
	ns, _ := newNS(t)
	for _, stale := range []string{"/proc/self/ns/net", "/proc/4194304/ns/net"} {
		err := Do(NS{Inode: ns.Inode, Path: stale}, func() error {
			inside, err := Current()
			if err == nil && inside.Inode != ns.Inode {
				err = fmt.Errorf("in %v instead of %v", inside, ns)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", stale, err)
		}
	}
}

func TestDoSaysThatANamespaceIsGone(t *testing.T) {
	err := Do(NS{Inode: 7, Path: "/proc/4194304/ns/net"}, func() error {
		t.Error("the function ran")
		return nil
	})
	var enter *EnterError
	if !errors.As(err, &enter) || !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestNamedNamespaceIsListed(t *testing.T) {
	ns, pid := newNS(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "blue")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	leftover := filepath.Join(dir, "leftover")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	r := roots{proc: "/proc", named: []string{dir, dir + "-missing"}}
	all, errs := list(r)
	if !slices.Contains(all, NS{Inode: ns.Inode, Path: path}) {
		t.Errorf("%v by %s is not among %v", ns, path, all)
	}
	errs = slices.DeleteFunc(errs, func(err error) bool {
		var denied *DeniedError
		return errors.As(err, &denied)
	})
	if len(errs) != 1 || !errors.Is(errs[0], ErrNotNetNS) || !strings.Contains(errs[0].Error(), leftover) {
		t.Errorf("errors %v; want one about %s", errs, leftover)
	}
	if got, err := resolve(r, "blue"); err != nil || got.Inode != ns.Inode {
		t.Errorf("resolve by name: %v, %v", got, err)
	}
}

func TestCurrentOfAThreadThatLeft(t *testing.T) {
	needRoot(t)
	type result struct {
		ns  NS
		err error
	}
	results := make(chan result)
	done, left := make(chan struct{}), make(chan struct{})
	go func() {
		// This may be the first thread, which cannot be thrown away, so it has
		// to go home.
		runtime.LockOSThread()
		home, err := openNS("/proc/thread-self/ns/net")
		if err != nil {
			results <- result{err: err}
			return
		}
		defer func() {
			if unix.Setns(home, unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			unix.Close(home)
			close(left)
		}()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			results <- result{err: err}
			return
		}
		ns, err := Current()
		results <- result{ns, err}
		<-done
	}()
	got := <-results
	defer func() { close(done); <-left }()
	if got.err != nil {
		t.Fatal(got.err)
	}
	if here, err := Current(); err != nil || here.Inode == got.ns.Inode {
		t.Fatalf("%v, %v", here, err)
	}
	if err := Do(got.ns, func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestParseMountinfo(t *testing.T) {
	const text = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
36 35 0:4 net:[4026532281] /run/netns/a\040b rw shared:1 - nsfs nsfs rw
37 35 0:4 mnt:[4026532282] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
short line
38 35 0:4 net:[4026532283] /run/docker/netns/default rw - nsfs nsfs rw
`
	got, err := parseMountinfo(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/run/netns/a b", "/run/docker/netns/default"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnreadableProcessesAreCounted(t *testing.T) {
	if os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestUnreadableProcessesAreCounted$", "-test.v")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as an unprivileged user: %v\n%s", err, out)
		}
		return
	}
	_, errs := List()
	var denied *DeniedError
	if !errors.As(errors.Join(errs...), &denied) || denied.Processes == 0 || !errors.Is(denied, os.ErrPermission) {
		t.Errorf("process 1 belongs to root, so something must be denied: %v", errs)
	}
	if denied != nil && denied.EvenRoot {
		t.Errorf("a user is told that it was denied to root: %v", denied)
	}
}

func TestWhatIsDeniedToRootIsNotSaidToNeedRoot(t *testing.T) {
	const needs = "needs root"
	for _, evenRoot := range []bool{false, true} {
		text := (&DeniedError{Processes: 1, Err: unix.EACCES, EvenRoot: evenRoot}).Error()
		if strings.Contains(text, needs) == evenRoot || strings.Contains(text, capability.EvenRoot) != evenRoot {
			t.Errorf("denied to root %v: %s", evenRoot, text)
		}
	}
}

func BenchmarkList(b *testing.B) {
	for b.Loop() {
		List()
	}
}
