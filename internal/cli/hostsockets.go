package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/filter"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

// hostSockets asks every network namespace that can be entered.
func hostSockets(ctx context.Context, q sockdiag.Query, f *filter.Filter, fn func(*hostSocket)) error {
	namespaces, errs := netns.List()
	if len(q.Ports) == 0 {
		for _, r := range f.Ports {
			q.Ports = append(q.Ports, sockdiag.PortRange{Low: r.First, High: r.Last})
		}
	}
	unseen := &unseenError{evenRoot: capability.Root(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE)}
	for _, err := range errs {
		unseen.add(err)
	}
	for _, ns := range namespaces {
		if f.NetNS != 0 && f.NetNS != ns.Inode {
			continue
		}
		q.NetNS = &ns
		err := sockdiag.Dump(ctx, q, func(s *sockdiag.Socket) error {
			fn(&hostSocket{*s, ns.Inode})
			return nil
		})
		if err != nil && !errors.Is(err, sockdiag.ErrInterrupted) {
			unseen.add(fmt.Errorf("list sockets of %s: %w", ns, err))
			unseen.unlisted = append(unseen.unlisted, ns.Inode)
		}
		if f.NetNS == ns.Inode {
			unseen.processes = 0 // wherever they are, it was found
		}
	}
	return unseen.orNil()
}

// unseenError is what could not be looked at for want of privileges, in one
// sentence however much it is, and all other errors.
type unseenError struct {
	namespaces int  // network namespaces that could not be entered
	processes  int  // whose network namespace could not be read
	evenRoot   bool // root, with all that it takes, was refused it
	others     []error
	unlisted   []uint32 // network namespaces, by inode, of which not all was listed
}

func (e *unseenError) add(err error) {
	var (
		enter  *netns.EnterError
		denied *netns.DeniedError
	)
	switch {
	case errors.As(err, &denied):
		e.processes += denied.Processes
	case errors.As(err, &enter) && errors.Is(err, fs.ErrPermission):
		e.namespaces++
	default:
		e.others = append(e.others, err)
	}
}

func (e *unseenError) orNil() error {
	if e.namespaces+e.processes+len(e.others) == 0 {
		return nil
	}
	return e
}

func (e *unseenError) Error() string {
	text := ""
	switch {
	case e.namespaces > 0 && e.processes > 0:
		text = fmt.Sprintf("%s cannot be entered, and those of %s are not known",
			ui.Plural(e.namespaces, "network namespace"), ui.Plural(e.processes, "process"))
	case e.namespaces > 0:
		text = ui.Plural(e.namespaces, "network namespace") + " cannot be entered"
	case e.processes > 0:
		text = "the network namespaces of " + ui.Plural(e.processes, "process") + " are not known"
	}
	if text != "" {
		why := "it needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE"
		if e.evenRoot {
			why = capability.EvenRoot
		}
		text += ", so what listens only there is missing (" + why + ")"
	}
	for _, err := range e.others {
		if text != "" {
			text += "; "
		}
		text += err.Error()
	}
	return text
}

func (e *unseenError) Unwrap() []error { return e.others }

// broken says that an error is more than a part of the host that could not be
// looked at: that nothing was listed does not mean that there is nothing.
func broken(err error) bool {
	var unseen *unseenError
	return err != nil && (!errors.As(err, &unseen) || len(unseen.others) > 0)
}
