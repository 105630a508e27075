package collect

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/netns"
	"acceptwatch/internal/sockdiag"
)

// sockets finds out what sockets are, by their inodes. It asks the kernel for
// all of the namespace, at most mostDumps times.
type sockets struct {
	ctx   context.Context
	ns    *netns.NS
	proc  procFS
	local netip.AddrPort // of the listener
	dumps int
	known map[uint32]diagnose.Target
}

const mostDumps = 3

func (s *sockets) find(pid int, inode uint32) diagnose.Target {
	if t, ok := s.known[inode]; ok {
		return t
	}
	if s.dumps < mostDumps {
		s.dumps++
		s.dump(pid)
	}
	t, ok := s.known[inode]
	if !ok {
		t = diagnose.Target{Kind: diagnose.KindOther, Name: fmt.Sprintf("socket:[%d]", inode)}
	}
	return t
}

// dump takes the TCP sockets of the listener's namespace, the UDP sockets of the
// process's, and the unix sockets that have a name or a peer with one.
func (s *sockets) dump(pid int) {
	query := sockdiag.Query{NetNS: s.ns, States: sockdiag.AllStates &^ sockdiag.States(sockdiag.TimeWait, sockdiag.NewSynRecv)}
	// Of what an incomplete dump lacks, less is said.
	_ = sockdiag.Dump(s.ctx, query, func(k *sockdiag.Socket) error {
		if k.Inode == 0 {
			return nil
		}
		t := diagnose.Target{Kind: diagnose.KindTCP, Local: k.LocalUnmapped().String()}
		if k.State == sockdiag.Listen {
			t.Listening = true
		} else {
			t.Peer = k.RemoteUnmapped().String()
			t.Client = sameListener(s.local, k.LocalUnmapped())
		}
		s.known[k.Inode] = t
		return nil
	})
	for _, file := range []string{"net/udp", "net/udp6"} {
		if text, ok := s.proc.text(pid, file); ok {
			parseUDP(text, s.known)
		}
	}
	s.unixSockets()
}

// sameListener says that a connection came to the listener: the port is the
// same, and so is the address, unless the listener takes any.
func sameListener(listener, local netip.AddrPort) bool {
	return listener.Port() == local.Port() &&
		(listener.Addr().IsUnspecified() || listener.Addr().Unmap() == local.Addr().Unmap())
}

// parseUDP reads /proc/net/udp: "sl local remote st tx:rx tr:when retr uid
// timeout inode", addresses in hex, each word of four bytes in host order.
func parseUDP(text string, known map[uint32]diagnose.Target) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 10 || words[0] == "sl" {
			continue
		}
		inode := uint32(number(words[9]))
		t := diagnose.Target{Kind: diagnose.KindUDP}
		if local, ok := parseHexAddr(words[1]); ok {
			t.Local = local.String()
		}
		if peer, ok := parseHexAddr(words[2]); ok && peer.Port() != 0 {
			t.Peer = peer.String()
		}
		if inode != 0 {
			known[inode] = t
		}
	}
}

func parseHexAddr(text string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	p, errPort := hex.DecodeString(port)
	if !ok || err != nil || errPort != nil || len(p) != 2 || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i+4 <= len(b); i += 4 { // little-endian words
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p[0])<<8|uint16(p[1])), ok
}
