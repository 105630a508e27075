package collect

import "golang.org/x/sys/unix"

// archCallNames adds the calls that other architectures do not have.
func archCallNames(names map[int]string) map[int]string {
	for number, name := range map[int]string{
		unix.SYS_POLL: "poll", unix.SYS_SELECT: "select", unix.SYS_EPOLL_WAIT: "epoll_wait", unix.SYS_PAUSE: "pause",
		unix.SYS_OPEN: "open", unix.SYS_STAT: "stat", unix.SYS_NEWFSTATAT: "newfstatat", unix.SYS_UNLINK: "unlink",
		unix.SYS_RENAME: "rename",
	} {
		names[number] = name
	}
	return names
}
