package capability

import (
	"fmt"
	"os"
)

// EvenRoot is what is said of something that is refused although Root is true. It
// stands where "it needs root" would.
const EvenRoot = "a policy of the system refuses it even to root"

// Root says that no more privileges can be had: the process is root, with these
// capabilities, in the initial user namespace.
func Root(bits ...int) bool {
	return isRoot(os.Geteuid(), Effective(), InitialUser(), bits...)
}

func isRoot(euid int, have Set, initialUser bool, bits ...int) bool {
	need := Of(bits...)
	return euid == 0 && have&need == need && initialUser
}

// Inodes of the initial namespaces (include/linux/proc_ns.h, unchanged since
// Linux 3.8).
const (
	procUserInitIno = 0xEFFFFFFD
	procPIDInitIno  = 0xEFFFFFFC
)

// InitialUser says that the process is in the initial user namespace, without which
// root is that of a container only.
func InitialUser() bool { return initialNamespace("user", procUserInitIno) }

// InitialPID says that the process is in the initial pid namespace.
func InitialPID() bool { return initialNamespace("pid", procPIDInitIno) }

// initialNamespace reports whether the process is in the initial namespace of
// a kind. Without /proc, or without the namespace kind, there is one only.
func initialNamespace(kind string, inode uint64) bool {
	target, err := os.Readlink("/proc/self/ns/" + kind)
	if err != nil {
		return true
	}
	return target == fmt.Sprintf("%s:[%d]", kind, inode)
}
