package probe

import (
	"net/netip"
	"testing"

	"acceptwatch/internal/event"
)

// Listeners on many more ports than there is room for addresses: the room is
// given back, and no death is forgotten, also of a port that is used again.
func TestAddressesOfClosedListenersAreGivenBack(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const room, ports = 32, 200
		tr := open(t, Options{Mode: m, addresses: room})
		deaths := map[netip.AddrPort]uint64{}
		lost := map[string]uint64{}
		take := func() {
			check(t, tr.Read(func(*event.Event) {}))
			s := must(tr.Sample(false))(t)
			for _, a := range s.Addresses {
				if a.Key.Addr.IsValid() {
					deaths[a.Key.Addr] = max(deaths[a.Key.Addr], a.CloseWait)
				}
			}
			lost = lossesOf(s)
		}
		// use has a client hang up in the queue of a listener that closes then.
		use := func(addr string) netip.AddrPort {
			s := listen(t, addr, 8)
			c := connect(t, s.addr)
			c.finish()
			c.finished()
			s.close()
			c.close()
			return s.addr
		}
		want := map[netip.AddrPort]uint64{}
		for i := range ports {
			want[use("127.0.0.7:0")]++
			if i%4 == 3 {
				take()
			}
		}
		take()
		take()
		held := 0
		check(t, tr.counts.eachAddress(func(*tracingAddress, *tracingAddressCounts) { held++ }))
		if held > room/2 {
			t.Errorf("%d of %d places are held for no listener", held, room)
		}
		for addr := range want {
			want[use(addr.String())]++
			break
		}
		take()
		for addr, n := range want {
			if deaths[addr] != n {
				t.Errorf("%d died at %s, counted %d", n, addr, deaths[addr])
			}
		}
		for _, what := range []string{"addresses_full", "addresses_reopened"} {
			if lost[what] > 0 {
				t.Errorf("%d %s", lost[what], what)
			}
		}
	}, Fentry, Kprobe)
}

// An open listener's address stays, however long nothing happens at it.
func TestAddressOfAnOpenListenerIsKept(t *testing.T) {
	everyMode(t, func(t *testing.T, m Mode) {
		const listeners = 16
		tr := open(t, Options{Mode: m, addresses: 32})
		var servers []*server
		for range listeners {
			s := listen(t, "127.0.0.7:0", 8)
			c := connect(t, s.addr)
			c.finish()
			c.finished()
			servers = append(servers, s)
		}
		for range 4 {
			must(tr.Sample(false))(t)
		}
		for _, s := range servers {
			if at := addressOf(t, tr, s.addr); at.CloseWait != 1 {
				t.Errorf("%s: %+v", s.addr, at)
			}
		}
	}, Fentry, Kprobe)
}
