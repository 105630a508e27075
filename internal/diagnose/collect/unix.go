package collect

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"acceptwatch/internal/diagnose"
	"acceptwatch/internal/netns"
)

const (
	sockDiagByFamily = 20

	// include/uapi/linux/unix_diag.h
	unixShowName = 1 << 0
	unixShowPeer = 1 << 2
	unixAttrName = 0
	unixAttrPeer = 2
	unixReqLen   = 24
	unixMsgLen   = 16
)

// unixSockets adds the unix sockets of the namespace: the peer of a client is the path
// that the server is bound to, which its own end of the connection has.
func (s *sockets) unixSockets() {
	names := make(map[uint32]string)
	peers := make(map[uint32]uint32)
	dump := func() error {
		conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		req := make([]byte, unixReqLen)
		req[0] = unix.AF_UNIX
		binary.NativeEndian.PutUint32(req[4:], 1<<1|1<<2) // ESTABLISHED and SYN_SENT, as TCP counts them
		binary.NativeEndian.PutUint32(req[12:], unixShowName|unixShowPeer)
		list, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: req,
		})
		var interrupted *netlink.OpError
		if err != nil && !errors.As(err, &interrupted) {
			return err
		}
		for _, m := range list {
			parseUnix(m.Data, names, peers)
		}
		return nil
	}
	// Where unix_diag is missing, the sockets have no names.
	if s.ns == nil {
		_ = dump()
	} else {
		_ = netns.Do(*s.ns, dump)
	}
	for inode, peer := range peers {
		s.known[inode] = diagnose.Target{Kind: diagnose.KindUnix, Name: names[inode], Peer: names[peer]}
	}
}

func parseUnix(b []byte, names map[uint32]string, peers map[uint32]uint32) {
	if len(b) < unixMsgLen {
		return
	}
	inode := binary.NativeEndian.Uint32(b[4:])
	peers[inode] = 0
	attrs, err := netlink.NewAttributeDecoder(b[unixMsgLen:])
	if err != nil {
		return
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unixAttrName:
			name := strings.TrimRight(string(attrs.Bytes()), "\x00")
			names[inode] = strings.Replace(name, "\x00", "@", 1)
		case unixAttrPeer:
			peers[inode] = attrs.Uint32()
		}
	}
}
