package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"acceptwatch/internal/listener"
)

// A function can exist, take a probe and never be called, because the compiler
// inlined it where it matters (inet_csk_reqsk_queue_add from 6.1 on). So every
// start makes two connections to itself, hangs up one and resets the other
// before they are accepted, and looks at which hooks saw them. It uses an address
// of its own, which every acceptwatch leaves out of its view (CANARY_ADDR in
// bpf/config.bpf.h).

const (
	// canaryFor bounds what the canary takes, most of which is the wait for the
	// hang-up and the reset to be counted.
	canaryFor = 5 * time.Second
	// silentAfter bounds that wait where another hook can take the place of one
	// that is slow to be called. Loopback needs less than a millisecond.
	silentAfter = 500 * time.Millisecond
)

func canaryAddr() netip.Addr { return netip.AddrFrom4([4]byte{127, 97, 119, 1}) }

func isCanary(a netip.Addr) bool { return a == canaryAddr() }

// Canary is what two connections through the hooks showed.
type Canary struct {
	Mode  Mode
	Err   error // a connection itself failed: nothing is proven
	Hooks []CanaryHook
}

// CanaryHook is one hook, and how often the connections passed it.
type CanaryHook struct {
	Name     string // kernel function
	Role     Role
	Expected bool // it should have been passed
	Fired    uint64
}

// Silent lists the hooks that should have seen the connections and did not.
func (c *Canary) Silent() []CanaryHook {
	var silent []CanaryHook
	for _, h := range c.Hooks {
		if h.Expected && h.Fired == 0 {
			silent = append(silent, h)
		}
	}
	return silent
}

// runCanary makes the connections and reads the counts; what should have fired
// and did not goes into the plan's limits.
func (t *Tracer) runCanary() Canary {
	c := Canary{Mode: t.plan.Mode}
	fired, err := t.canaryConnection()
	if c.Err = err; err != nil {
		t.counts.unproven = t.plan.watches(hashdance)
		t.plan.Limits = append(t.plan.Limits, fmt.Sprintf("the hooks are not proven to be live: a connection to %s failed: %v", canaryAddr(), c.Err))
		return c
	}
	anyEnqueue := fired.hashdance + fired.queueAdd
	for _, h := range t.plan.hooks {
		seen := CanaryHook{Name: h.symbol, Role: h.role}
		switch {
		case h.kind == kretprobe || h.role == RoleGraft:
			continue
		case h.role == RoleAccept:
			seen.Fired, seen.Expected = fired.accepted, true
		case h.symbol == tcpFin:
			seen.Fired, seen.Expected = fired.closeWait, true
		case h.symbol == tcpFailure:
			seen.Fired, seen.Expected = fired.reset, true
		case h.role == RoleState:
			seen.Fired, seen.Expected = fired.closeWait+fired.reset, true
		case h.role == RoleClose:
			seen.Fired, seen.Expected = fired.closed, true
		case h.symbol == childProcess:
			seen.Fired, seen.Expected = fired.hashdance, true
		case h.symbol == hashdance:
			// One of the carriers must see it.
			seen.Fired, seen.Expected = fired.hashdance, anyEnqueue == 0
		case h.symbol == queueAdd:
			seen.Fired, seen.Expected = fired.queueAdd, anyEnqueue == 0
		default:
			continue // a purge does not happen here
		}
		c.Hooks = append(c.Hooks, seen)
	}
	for _, h := range c.Silent() {
		t.plan.Limits = append(t.plan.Limits, fmt.Sprintf("SILENT HOOK: a test connection did not pass %s on this kernel: %s", h.Name, missingHook(h.Role)))
	}
	return c
}

// chooseCarrier keeps one hook of the enqueue path where both see the same
// connections (5.10 does not inline the one into the other): the inner one,
// which Fast Open and SYN cookies pass too.
func (t *Tracer) chooseCarrier() {
	var fired [2]uint64
	for _, h := range t.canary.Hooks {
		switch h.Name {
		case hashdance:
			fired[0] = h.Fired
		case queueAdd:
			fired[1] = h.Fired
		}
	}
	if fired[0] == 0 || fired[1] == 0 {
		return
	}
	t.counts.onlyQueueAdd = true
	kept := t.links[:0]
	for _, l := range t.links {
		if l.symbol == hashdance {
			l.Close()
			continue
		}
		kept = append(kept, l)
	}
	t.links = kept
}

// canaryConnection connects twice, hangs up the one and resets the other, waits
// until that was counted, accepts and closes both; it returns what the hooks
// counted.
func (t *Tracer) canaryConnection() (fired, error) {
	// Go listens by MPTCP where it can; the hooks are about TCP.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ctx, cancel := context.WithTimeout(context.Background(), canaryFor)
	defer cancel()
	l, err := config.Listen(ctx, "tcp4", netip.AddrPortFrom(canaryAddr(), 0).String())
	if err != nil {
		return fired{}, err
	}
	seen, err := t.throughListener(ctx, l.(*net.TCPListener))
	if err := errors.Join(err, l.Close()); err != nil {
		return fired{}, err
	}
	after, err := t.counts.canary()
	seen.closed = after.closed
	return seen, err
}

func (t *Tracer) throughListener(ctx context.Context, l *net.TCPListener) (fired, error) {
	for _, reset := range []bool{false, true} {
		if err := giveUp(ctx, l.Addr(), reset); err != nil {
			return fired{}, err
		}
	}
	wait := canaryFor
	if slices.ContainsFunc(t.plan.hooks, func(h hook) bool { return h.role == RoleState && h.replaceable }) {
		wait = silentAfter
	}
	for until := time.Now().Add(wait); ctx.Err() == nil && time.Now().Before(until); {
		seen, err := t.counts.canary()
		if err != nil {
			return fired{}, err
		}
		if seen.closeWait > 0 && seen.reset > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := l.SetDeadline(time.Now().Add(canaryFor)); err != nil {
		return fired{}, err
	}
	for range 2 {
		server, err := l.Accept()
		if err != nil {
			return fired{}, err
		}
		if err := server.Close(); err != nil {
			return fired{}, err
		}
	}
	return t.counts.canary()
}

// giveUp connects, and hangs up or resets the connection.
func giveUp(ctx context.Context, to net.Addr, reset bool) error {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	client, err := dialer.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return err
	}
	if reset {
		err = client.(*net.TCPConn).SetLinger(0)
	}
	return errors.Join(err, client.Close())
}

// fired is what the maps say of the canary's connections.
type fired struct {
	accepted, hashdance, queueAdd, closeWait, reset, closed uint64
}

// withoutCanary removes the canary's rows from a sample.
func withoutCanary(s *listener.Sample) {
	keep := s.Listeners[:0]
	for _, l := range s.Listeners {
		if !isCanary(l.Key.Addr.Addr()) {
			keep = append(keep, l)
		}
	}
	s.Listeners = keep
	at := s.Addresses[:0]
	for _, a := range s.Addresses {
		if !isCanary(a.Key.Addr.Addr()) {
			at = append(at, a)
		}
	}
	s.Addresses = at
}
