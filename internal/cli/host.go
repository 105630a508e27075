package cli

import (
	"context"
	"errors"
	"maps"
	"slices"

	"acceptwatch/internal/filter"
	"acceptwatch/internal/owner"
	"acceptwatch/internal/recording"
	"acceptwatch/internal/sockdiag"
)

// host answers what is not in events. The answers are in the words of a
// recording, so that the same code takes those of now and those of then.
type host interface {
	// holders finds who has these listening sockets, by their inodes; nil:
	// nothing was asked.
	holders(inodes map[uint32]struct{}) *recording.Owners

	// held finds the connections that were accepted, are in CLOSE_WAIT and
	// still open, of those that at wants, with who has them.
	held(ctx context.Context, f *filter.Filter, at func(*recording.Held) bool) *recording.Owners

	// listening lists the listening sockets that may be the filter's. The error
	// is for what is missing in the list.
	listening(context.Context, *filter.Filter) ([]hostSocket, error)
}

// pastHost is the host of a recording: its answers came with the records.
type pastHost struct{}

func (pastHost) holders(map[uint32]struct{}) *recording.Owners { return nil }

func (pastHost) held(context.Context, *filter.Filter, func(*recording.Held) bool) *recording.Owners {
	return nil
}

func (pastHost) listening(context.Context, *filter.Filter) ([]hostSocket, error) { return nil, nil }

// liveHost asks the machine.
type liveHost struct {
	env *environment
	// told, if not nil, is given every answer.
	told func(*recording.Owners)
}

func (h *liveHost) answer(o *recording.Owners) *recording.Owners {
	if h.told != nil {
		h.told(o)
	}
	return o
}

func (h *liveHost) listening(ctx context.Context, f *filter.Filter) ([]hostSocket, error) {
	return h.env.list(ctx, sockdiag.States(sockdiag.Listen), f)
}

func (h *liveHost) holders(inodes map[uint32]struct{}) *recording.Owners {
	if len(inodes) == 0 {
		return nil
	}
	o := &recording.Owners{Time: h.env.monotonic()}
	found := h.scan(inodes, o)
	for _, inode := range slices.Sorted(maps.Keys(found)) {
		for i := range found[inode] {
			o.Listening = append(o.Listening, ownerOf(inode, &found[inode][i]))
		}
	}
	return h.answer(o)
}

func (h *liveHost) held(ctx context.Context, f *filter.Filter, at func(*recording.Held) bool) *recording.Owners {
	sockets, err := h.env.list(ctx, sockdiag.States(sockdiag.CloseWait), f)
	return h.heldOf(sockets, err, at)
}

// heldOf is held of sockets that were listed, all or but for what the error
// says.
func (h *liveHost) heldOf(sockets []hostSocket, err error, at func(*recording.Held) bool) *recording.Owners {
	o := &recording.Owners{Time: h.env.monotonic()}
	if err != nil {
		o.Missing = append(o.Missing, err.Error())
		if broken(err) && len(sockets) == 0 {
			return h.answer(o)
		}
	}
	o.HeldKnown = true
	inodes := make(map[uint32]struct{})
	for i := range sockets {
		s := &sockets[i]
		held := recording.Held{
			NetNS: s.NetNS, Local: s.LocalUnmapped().String(), Ifindex: s.Ifindex, Inode: s.Inode,
		}
		if s.Remote.IsValid() {
			held.Peer = s.RemoteUnmapped().String()
		}
		held.Unread, _ = s.UnreadBytes()
		if s.HeldCloseWait() && at(&held) {
			o.Held = append(o.Held, held)
			inodes[s.Inode] = struct{}{}
		}
	}
	if len(inodes) == 0 {
		return h.answer(o)
	}
	found := h.scan(inodes, o)
	for i := range o.Held {
		held := &o.Held[i]
		for j := range found[held.Inode] {
			held.Owners = append(held.Owners, ownerOf(0, &found[held.Inode][j]))
		}
	}
	return h.answer(o)
}

// scan finds out who has these sockets, and writes down what it could not see.
func (h *liveHost) scan(inodes map[uint32]struct{}, o *recording.Owners) map[uint32][]owner.Process {
	found, report, err := h.env.owners(inodes)
	if err != nil {
		o.Missing = append(o.Missing, err.Error())
		return nil
	}
	o.Scan = &recording.Scan{
		Processes: report.Processes, FDs: report.FDs, Denied: report.Denied, Failed: report.Failed,
		EvenRoot: report.EvenRoot,
	}
	if report.FirstError != nil {
		o.Scan.FirstError = report.FirstError.Error()
	}
	if h.env.identify != nil {
		for _, all := range found {
			for i := range all {
				h.env.identify(&all[i])
			}
		}
	}
	return found
}

func ownerOf(inode uint32, p *owner.Process) recording.Owner {
	id := &p.Identity
	return recording.Owner{
		Inode: inode, PID: p.PID, Comm: p.Comm, FDs: p.FDs, StartTime: p.StartTime, Exe: id.Exe, Command: id.Command,
		Cgroup: id.Cgroup, Container: id.Container, Runtime: id.Runtime, Pod: id.Pod, Unit: id.Unit,
	}
}

// holders are the processes that hold listening sockets, by inode.
func holders(o *recording.Owners) map[uint32][]owner.Process {
	found := make(map[uint32][]owner.Process)
	for i := range o.Listening {
		found[o.Listening[i].Inode] = append(found[o.Listening[i].Inode], o.Listening[i].Process())
	}
	return found
}

func reportOf(s *recording.Scan) owner.Report {
	r := owner.Report{Processes: s.Processes, FDs: s.FDs, Denied: s.Denied, Failed: s.Failed, EvenRoot: s.EvenRoot}
	if s.FirstError != "" {
		r.FirstError = errors.New(s.FirstError)
	}
	return r
}
