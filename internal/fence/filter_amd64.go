package fence

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// Older system calls that newer architectures do not have.
var (
	neverHere   = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_USELIB}
	changesHere = []uint32{
		unix.SYS_CREAT, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_MKNOD,
		unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN,
		unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT,
	}
	opens = []opened{{unix.SYS_OPENAT, 2}, {unix.SYS_OPEN, 1}}
)
