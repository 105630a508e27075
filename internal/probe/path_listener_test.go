package probe

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/event"
	"acceptwatch/internal/listener"
)

// Listeners that change while they are watched, and several at one address.

// rowsOf are the counts of all listeners at the address.
func rowsOf(t *testing.T, tr *Tracer, at netip.AddrPort) []listener.Counted {
	t.Helper()
	sample, err := tr.Sample(true)
	check(t, err)
	var rows []listener.Counted
	for _, l := range sample.Listeners {
		if l.Key.Addr == at {
			rows = append(rows, l)
		}
	}
	return rows
}

func TestSecondLifeOfAListenerIsAnother(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const queued, finished = 5, 2
		// A port that was asked for stays with the socket between its lives.
		free := listen(t, "127.0.0.1:0", 1)
		free.close()
		s := listen(t, free.addr.String(), 8)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		for i := range queued {
			c := connect(t, s.addr)
			if i < finished {
				c.close()
			}
		}
		events := readUntil(t, tr, has(finished, s.addr, event.CloseWait))
		events = append(events, readAll(t, tr, 3*sampleEvery)...)
		check(t, unix.Shutdown(s.fd, unix.SHUT_RD))
		events = append(events, readUntil(t, tr, has(queued, s.addr, event.Purged))...)
		first := only(events, s.addr, event.Purged)[0].ListenerID
		for _, e := range only(events, s.addr, event.Purged) {
			if e.ListenerID != first || first == 0 || e.Backlog != 8 {
				t.Errorf("purged: %s", describe([]event.Event{e}))
			}
		}
		readAll(t, tr, 3*sampleEvery) // without a hook, two walks must miss it
		rows := rowsOf(t, tr, s.addr)
		if len(rows) != 1 || !rows[0].Closed || rows[0].ID != first || rows[0].Purged != queued || rows[0].PurgedDead != finished || rows[0].Depth != 0 {
			t.Errorf("counted of the first life: %+v", rows)
		}

		check(t, unix.Listen(s.fd, 3))
		c := connect(t, s.addr)
		readAll(t, tr, 3*sampleEvery)
		s.accept()
		events = readUntil(t, tr, has(1, s.addr, event.Accepted))
		e := only(events, s.addr, event.Accepted)[0]
		if e.Peer != c.local || e.ListenerID == first || e.ListenerID == 0 || e.Backlog != 3 {
			t.Errorf("accepted in the second life (the first was %d): listener %d %s", first, e.ListenerID, describe([]event.Event{e}))
		}
		rows = rowsOf(t, tr, s.addr)
		if len(rows) != 1 || rows[0].Closed || rows[0].ID != e.ListenerID || rows[0].Backlog != 3 || rows[0].Accepted != 1 || rows[0].Purged != 0 {
			t.Errorf("counted of the second life: %+v", rows)
		}
		if m != Restricted && rows[0].Enqueued != 1 {
			t.Errorf("%d enqueued in the second life", rows[0].Enqueued)
		}
	}, Fentry, Kprobe, Restricted)
}

func TestBacklogChangedWhileOpen(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		s := listen(t, "127.0.0.1:0", 2)
		tr := open(t, Options{Mode: m, Filter: onPort(s.addr.Port())})
		ids := map[uint64]bool{}
		for i, backlog := range []uint32{2, 9, 4} {
			check(t, unix.Listen(s.fd, int(backlog)))
			connect(t, s.addr)
			readAll(t, tr, 3*sampleEvery)
			s.accept()
			events := readUntil(t, tr, has(1, s.addr, event.Accepted))
			e := only(events, s.addr, event.Accepted)[0]
			ids[e.ListenerID] = true
			if e.Backlog != backlog {
				t.Errorf("backlog %d: %s", backlog, describe([]event.Event{e}))
			}
			if row := sampleOf(t, tr, s.addr); row.Backlog != backlog || row.Closed || row.Accepted != uint64(i+1) || !ids[row.ID] {
				t.Errorf("backlog %d: counted %+v", backlog, row)
			}
		}
		if len(ids) != 1 {
			t.Errorf("one listener has the IDs %v", ids)
		}
	}, Fentry, Kprobe, Restricted)
}

// member is one listener of a group at one address.
type member struct {
	*server
	inode uint32
	taken []netip.AddrPort // its connections, by what accept gave
}

func group(t *testing.T, n int, prepare func(i, fd int)) []*member {
	t.Helper()
	at := "127.0.0.1:0"
	var members []*member
	for i := range n {
		s := listenWith(t, at, 256, func(fd int) {
			setOptions(t, fd, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
			prepare(i, fd)
		})
		at = s.addr.String()
		check(t, unix.SetNonblock(s.fd, true))
		var st unix.Stat_t
		check(t, unix.Fstat(s.fd, &st))
		members = append(members, &member{server: s, inode: uint32(st.Ino)})
	}
	return members
}

// acceptAll takes all that is in the member's queue.
func (m *member) acceptAll() {
	m.t.Helper()
	for {
		fd, peer, err := unix.Accept4(m.fd, unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			return
		}
		check(m.t, err)
		m.t.Cleanup(func() { unix.Close(fd) })
		m.taken = append(m.taken, addrPortOf(peer))
	}
}

// Which member of a group gets a connection is the kernel's choice; the
// connection is enqueued, walked and accepted under that member's ID, while a
// death in the queue belongs to the address.
func TestMembersOfAGroupKeepTheirOwnBooks(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		tr := open(t, Options{Mode: m})
		for _, test := range []struct {
			name    string
			options func(i int) []option
		}{
			{"by hash", func(int) []option { return nil }},
			{"by incoming CPU", func(i int) []option { return []option{{unix.SOL_SOCKET, unix.SO_INCOMING_CPU, i}} }},
		} {
			t.Run(test.name, func(t *testing.T) {
				const members, all, finished = 2, 60, 10
				g := group(t, members, func(i, fd int) { setOptions(t, fd, test.options(i)...) })
				at := g[0].addr
				gone := map[netip.AddrPort]bool{}
				cpu := map[netip.AddrPort]int{}
				for i := range all {
					pinned(i%members, func() {
						c := connect(t, at)
						cpu[c.local] = i % members
						if i < finished {
							gone[c.local] = true
							c.close()
						}
					})
				}
				events := readUntil(t, tr, has(finished, at, event.CloseWait))
				check(t, tr.Walk())
				events = append(events, readUntil(t, tr, has(all, at, event.Queued))...)
				for _, one := range g {
					one.acceptAll()
				}
				events = append(events, readUntil(t, tr, has(all, at, event.Accepted))...)
				checkMembers(t, m, g, only(events, at, event.Queued, event.Accepted), rowsOf(t, tr, at), gone)
				if got := addressOf(t, tr, at); got.CloseWait != finished || got.Reset != 0 {
					t.Errorf("%d finished at the address: %+v", finished, got)
				}
				checkEnqueued(t, tr, m, at, all)
				// The choice of the CPU inside a group came with Linux 6.2.
				if test.options(0) == nil || !kernelIs(t, 6, 2) {
					return
				}
				for i, one := range g {
					for _, peer := range one.taken {
						if cpu[peer] != i {
							t.Errorf("the kernel gave member %d a connection that came in on CPU %d: this test steers nothing", i, cpu[peer])
						}
					}
				}
			})
		}
	}, Fentry, Kprobe, Restricted)
}

func checkMembers(t *testing.T, m Mode, g []*member, events []event.Event, rows []listener.Counted, gone map[netip.AddrPort]bool) {
	t.Helper()
	if len(rows) != len(g) {
		t.Fatalf("%d members, %d rows: %+v", len(g), len(rows), rows)
	}
	of := map[netip.AddrPort]map[string]uint64{} // peer -> where -> listener
	for _, e := range events {
		if of[e.Peer] == nil {
			of[e.Peer] = map[string]uint64{}
		}
		where := e.Kind.String()
		if before, again := of[e.Peer][where]; again && (before != e.ListenerID || e.Kind == event.Accepted) {
			t.Errorf("%s again, listener %d before: %s", where, before, describe([]event.Event{e}))
		}
		of[e.Peer][where] = e.ListenerID
	}
	for i, one := range g {
		if len(one.taken) == 0 {
			t.Errorf("member %d got no connection, so this shows nothing of it", i)
		}
		var row *listener.Counted
		for j := range rows {
			if rows[j].Inode == one.inode {
				row = &rows[j]
			}
		}
		if row == nil {
			t.Fatalf("no row of member %d (inode %d): %+v", i, one.inode, rows)
		}
		var dead uint64
		for _, peer := range one.taken {
			if gone[peer] {
				dead++
			}
			if want := fmt.Sprint(map[string]uint64{"queued": row.ID, "accepted": row.ID}); fmt.Sprint(of[peer]) != want {
				t.Errorf("%s was taken from member %d: want %s, got %v", peer, i, want, of[peer])
			}
		}
		if row.Accepted != uint64(len(one.taken)) || row.AcceptedCloseWait != dead || row.Depth != 0 {
			t.Errorf("member %d accepted %d, %d of them dead: %+v", i, len(one.taken), dead, row)
		}
		if m != Restricted && row.Enqueued != row.Accepted {
			t.Errorf("member %d enqueued %d, accepted %d", i, row.Enqueued, row.Accepted)
		}
		if row.Waits == nil || row.Waits.Count() != row.Accepted || time.Duration(row.MaxWait) <= 0 {
			t.Errorf("member %d has other waits than connections: %+v", i, row)
		}
	}
}
