// Package export writes what was seen for other programs.
//
// # JSON Lines
//
// Every line is an object with a "type". What is not known is left out, so a 0
// is a true zero. Times are RFC 3339 in UTC with nanoseconds; keys ending in
// _ns are nanoseconds, those ending in _bytes bytes, and all other numbers
// count connections unless said otherwise. Addresses are "addr:port" or
// "[v6]:port"; IPv4 that arrived at an IPv6 socket is IPv4. Keys may be added in
// later versions; none changes its meaning.
//
// type "event", one thing that happened to one connection or listener:
//
//	time            when
//	event           accepted, close_wait, reset, purged, listener_closed,
//	                stall, stall_end
//	listener        bound address of the listener; if it is not known, the
//	                connection's own end
//	peer            the client's end; not in stall, stall_end, listener_closed
//	family          ipv4 or ipv6: what carries the connection
//	wait_ns         since it entered the queue; in stall and stall_end, since
//	                when nobody had accepted. In mode restricted, accepted waits
//	                are sampled: up to 0.1 s too long
//	state           TCP state after the event: ESTABLISHED, CLOSE_WAIT, CLOSE...
//	depth           of the queue after the event
//	depth_at_entry  of the queue when this connection entered it
//	backlog         limit of the queue, which holds one more
//	unread_bytes    received and not read
//	pid, tid, comm  the acceptor's process, thread, and thread name; in
//	                stall_end, who ended it
//	netns           inode of the network namespace
//	cookie          socket cookie
//	errno           why a connection was closed: "ECONNRESET"
//
// type "listener", the state of one bound address, at the start and at the end:
//
//	listener, netns
//	owners          [{"pid", "comm"}] processes that hold it open
//	depth, backlog
//	oldest_ns       age of the entry at the head of the queue
//	enqueued, accepted, close_wait, reset, purged   since the start
//	wait_ns         {"p50", "p90", "p99", "max"} of the accepted
//	lost            connections that entered and left unexplained
//	unaccepted      {"ESTABLISHED", "CLOSE_WAIT", "CLOSE", "SYN_RECV"} in the
//	                queue now
//	held_close_wait connections in CLOSE_WAIT that were accepted and are still
//	                open in a process: never part of unaccepted
//
// type "loss", something that was not seen: what (a word), text, count.
//
// type "summary", the last line: time, mode, duration_ns, listeners (number of
// listener lines before it), accepted, close_wait, reset, purged, losses (the
// sum of the loss lines).
package export
