package recording

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Text writes everything that a reader has left in lines, for people and for
// diff: the same records give the same text, however they were cut into blocks.
// It ends with what Err says. The error is that of w only.
func Text(w io.Writer, r *Reader) error {
	out := bufio.NewWriter(w)
	for rec := range r.All() {
		writeRecord(out, rec)
	}
	switch err := r.Err(); {
	case err != nil:
		fmt.Fprintf(out, "error %v\n", err)
	default:
		fmt.Fprintln(out, "end")
	}
	if n := r.Skipped(); n > 0 {
		fmt.Fprintf(out, "skipped %d\n", n)
	}
	return out.Flush()
}

func writeRecord(w io.Writer, rec *Record) {
	switch rec.Kind {
	case KindEvent:
		writeEvent(w, rec.Event)
	case KindSample:
		writeSample(w, rec.Sample, rec.Waits)
	case KindMark:
		fmt.Fprintf(w, "mark %s at=%d\n", rec.Mark.Kind, rec.Mark.Time)
	case KindClock:
		fmt.Fprintf(w, "clock monotonic=%d wall=%d\n", rec.Clock.Monotonic, rec.Clock.Wall)
	case KindOwners:
		writeJSON(w, "owners", rec.Owners)
	case KindEvidence:
		writeJSON(w, "evidence", rec.Evidence)
	case KindLosses:
		fmt.Fprintln(w, "losses")
		writeLosses(w, rec.Losses)
	case KindHeader:
		writeJSON(w, "header", rec.Header)
	case KindDamage:
		fmt.Fprintf(w, "damage at=%d length=%d %v\n", rec.Damage.Offset, rec.Damage.Length, rec.Damage.Err)
	}
}

// String is the mark's word: walk, read, ready or end.
func (k MarkKind) String() string {
	switch k {
	case MarkWalk:
		return "walk"
	case MarkRead:
		return "read"
	case MarkReady:
		return "ready"
	case MarkEnd:
		return "end"
	}
	return fmt.Sprintf("mark(%d)", uint8(k))
}

func writeJSON(w io.Writer, what string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(err.Error())
	}
	fmt.Fprintf(w, "%s %s\n", what, b)
}

// line collects what is not zero.
type line struct{ strings.Builder }

func (l *line) number(name string, v uint64) {
	if v != 0 {
		fmt.Fprintf(l, " %s=%d", name, v)
	}
}

func (l *line) signed(name string, v int64) {
	if v != 0 {
		fmt.Fprintf(l, " %s=%d", name, v)
	}
}

func (l *line) truth(name string, v bool) {
	if v {
		l.WriteString(" " + name)
	}
}

func (l *line) key(k *listener.Key) {
	fmt.Fprintf(l, " %v", k.Addr)
	l.number("netns", uint64(k.NetNS))
	l.number("ifindex", uint64(k.Ifindex))
}

func writeEvent(w io.Writer, e *event.Event) {
	var l line
	fmt.Fprintf(&l, "event %v at=%d %v", e.Kind, e.Time, e.Local)
	if e.Peer.IsValid() || e.Peer.Port() != 0 {
		fmt.Fprintf(&l, " peer=%v", e.Peer)
	}
	l.signed("queued", e.Queued)
	fmt.Fprintf(&l, " family=%d state=%v", e.Family, e.State)
	l.number("listener", e.ListenerID)
	l.number("netns", uint64(e.NetNS))
	l.number("ifindex", uint64(e.Ifindex))
	l.number("depth", uint64(e.Depth))
	l.number("entry", uint64(e.DepthAtEntry))
	l.number("backlog", uint64(e.Backlog))
	l.number("unread", uint64(e.Unread))
	l.number("pid", uint64(e.PID))
	l.number("tid", uint64(e.TID))
	if e.Comm != (event.Comm{}) {
		fmt.Fprintf(&l, " comm=%q", strings.TrimRight(string(e.Comm[:]), "\x00"))
	}
	l.number("inode", uint64(e.Inode))
	l.signed("fd", int64(e.FD))
	l.number("repeats", uint64(e.Repeats))
	l.number("flags", uint64(e.Flags))
	l.number("errno", uint64(e.Errno))
	l.number("cookie", e.Cookie)
	fmt.Fprintln(w, l.String())
}

func writeSample(w io.Writer, s *listener.Sample, waits bool) {
	fmt.Fprintf(w, "sample at=%d waits=%v\n", s.Time, waits)
	for i := range s.Listeners {
		c := &s.Listeners[i]
		var l line
		fmt.Fprintf(&l, "  listener %d", c.ID)
		l.key(&c.Key)
		l.number("family", uint64(c.Family))
		l.truth("v6only", c.V6Only)
		l.number("inode", uint64(c.Inode))
		l.truth("closed", c.Closed)
		l.number("depth", uint64(c.Depth))
		l.number("backlog", uint64(c.Backlog))
		l.number("enqueued", c.Enqueued)
		l.number("accepted", c.Accepted)
		l.number("accepted_close_wait", c.AcceptedCloseWait)
		l.number("accepted_reset", c.AcceptedReset)
		l.number("purged", c.Purged)
		l.number("purged_dead", c.PurgedDead)
		l.number("migrated_in", c.MigratedIn)
		l.number("migrated_out", c.MigratedOut)
		l.number("overflow_syn", c.OverflowSYN)
		l.number("overflow_ack", c.OverflowACK)
		l.number("max_depth", uint64(c.MaxDepth))
		l.signed("full", int64(c.Full))
		l.signed("last_accept", c.LastAccept)
		l.signed("non_empty_since", c.NonEmptySince)
		l.signed("max_wait", c.MaxWait)
		l.truth("folded", c.Folded)
		fmt.Fprintln(w, l.String())
		writeWaits(w, c.Waits)
	}
	for i := range s.Addresses {
		a := &s.Addresses[i]
		var l line
		l.WriteString("  address")
		l.key(&a.Key)
		l.number("close_wait", a.CloseWait)
		l.number("reset", a.Reset)
		l.number("reset_after_fin", a.ResetAfterFIN)
		l.number("accepted", a.Accepted)
		l.number("accepted_dead", a.AcceptedDead)
		l.number("enqueued", a.Enqueued)
		fmt.Fprintln(w, l.String())
	}
	for i := range s.AcceptErrors {
		e := &s.AcceptErrors[i]
		var l line
		fmt.Fprintf(&l, "  accept_error errno=%d", e.Errno)
		l.key(&e.Key)
		l.number("listener", e.ListenerID)
		l.number("inode", uint64(e.Inode))
		l.number("pid", uint64(e.PID))
		fmt.Fprintf(&l, " comm=%q", e.Comm)
		l.number("count", e.Count)
		l.signed("last", e.Last)
		fmt.Fprintln(w, l.String())
	}
	writeLosses(w, s.Losses)
}

func writeWaits(w io.Writer, h *listener.Histogram) {
	if h == nil {
		return
	}
	longest, known := h.Max()
	fmt.Fprintf(w, "    waits count=%d max=%d known=%v:", h.Count(), longest, known)
	for i, n := range h.All() {
		fmt.Fprintf(w, " %d:%d", i, n)
	}
	fmt.Fprintln(w)
}

func writeLosses(w io.Writer, all []listener.Loss) {
	for _, l := range all {
		fmt.Fprintf(w, "  loss %s %d %q\n", l.What, l.Count, l.Text)
	}
}
