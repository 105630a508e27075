package recording

// The version that this package writes. A reader refuses a greater Major; of a
// greater Minor it skips what it does not know.
const (
	Major = 1
	Minor = 2 // 1.1: records of evidence; 1.2: which of its targets listen, what is denied to root, words of losses with their choices
)

// format is how one major version is read.
type format struct {
	major uint8
	// upgrade makes of a record of this version one of the next.
	upgrade func(*Record)
}

// formats are the versions that can be read, oldest first, without gaps. The
// last one is what is written and needs no upgrade.
func formats() []format {
	return []format{{major: 1}}
}

// upgrades are what is to be done with the records of a version, in turn. It
// reports false for a version that cannot be read.
func upgrades(all []format, major uint8) (list []func(*Record), ok bool) {
	for _, f := range all {
		if f.major < major {
			continue
		}
		if f.major == major {
			ok = true
		}
		if f.upgrade != nil {
			list = append(list, f.upgrade)
		}
	}
	return list, ok
}

// Schema describes the columns of events in the version that is written.
func Schema() []Column {
	return []Column{
		{int(colClass), "events", "class", "row of classes"},
		{int(colTime), "events", "time", "ns of CLOCK_MONOTONIC, less that of the event before, zigzag"},
		{int(colQueued), "events", "queued", "0: not known; else 1 + zigzag of the µs from then until the event"},
		{int(colDepth), "events", "depth", ""},
		{int(colEntry), "events", "depth_at_entry", ""},
		{int(colUnread), "events", "unread", "bytes"},
		{int(colCookie), "events", "cookie", "less that of the event before, zigzag; 0: none"},
		{int(colRepeats), "events", "repeats", ""},
		{int(colPeerPort), "events", "peer_port", ""},
		{int(colPeer4), "events", "peer_4", "IPv4 address, of events whose peer_form is 4 only"},
		{int(colPeerHigh), "events", "peer_16_high", "first half of the address, of events whose peer_form is 16 only"},
		{int(colPeerLow), "events", "peer_16_low", "second half"},
		{int(colPlace), "classes", "place", "row of places"},
		{int(colThread), "classes", "thread", "row of threads"},
		{int(colKind), "classes", "kind", "enum event_kind of bpf/events.h"},
		{int(colFlags), "classes", "flags", "enum event_flag of bpf/events.h; 256: sampled, 512: recovered"},
		{int(colState), "classes", "state", "TCP state, the kernel's number"},
		{int(colErrno), "classes", "errno", ""},
		{int(colFD), "classes", "fd", "zigzag"},
		{int(colPeerForm), "classes", "peer_form", "bytes of the peer's address; 0: none"},
		{int(colListener), "places", "listener", "id; 0: not known"},
		{int(colLocalForm), "places", "local_form", "bytes of the local address; 0: none"},
		{int(colLocalHigh), "places", "local_high", "first half of an address of 16 bytes"},
		{int(colLocalLow), "places", "local_low", "second half, or the IPv4 address"},
		{int(colLocalPort), "places", "local_port", ""},
		{int(colNetNS), "places", "netns", "inode"},
		{int(colIfindex), "places", "ifindex", ""},
		{int(colBacklog), "places", "backlog", ""},
		{int(colFamily), "places", "family", "AF_INET 2, AF_INET6 10"},
		{int(colInode), "places", "inode", "of the listening socket"},
		{int(colPID), "threads", "pid", ""},
		{int(colTID), "threads", "tid", ""},
		{int(colCommHigh), "threads", "comm_high", "first 8 bytes, little-endian"},
		{int(colCommLow), "threads", "comm_low", "last 8 bytes, little-endian"},
	}
}
