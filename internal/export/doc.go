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
//	event           accepted, close_wait, reset, purged, overflow, accept_error,
//	                listener_closed, stall, stall_end
//	listener        bound address of the listener; if it is not known, the
//	                connection's own end
//	peer            the client's end; not in accept_error, stall, stall_end,
//	                listener_closed
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
//	                accept_error, who called accept(); in stall_end, who ended
//	                it; in stall, the process that fails most often to accept
//	netns           inode of the network namespace
//	cookie          socket cookie
//	errno           why a connection was closed: "ECONNRESET"; in accept_error
//	                why accept() failed: "EMFILE"; in stall, why it has failed
//	                since the last accept
//	refused         overflow only, what was dropped because the queue was full:
//	                "syn", or "last_ack" of the handshake
//	client          overflow only, what it means to the client: "no_answer"
//	                (it tries again), "believes_connected" (what it sends goes
//	                unanswered) or "reset" (it was sent an RST)
//	fd              accept_error only, the descriptor given to accept(); not if
//	                io_uring called it
//	repeats         accept_error only, failed calls since the last such line,
//	                this one included; in stall, those since the start
//
// type "listener", the state of one bound address, at the start and at the end:
//
//	listener, netns
//	owners          [{"pid", "comm", "exe", "command", "container", "runtime",
//	                "pod", "unit"}] processes that hold it open: program and
//	                command line, container (id, or name) and what runs it, uid
//	                of the Kubernetes pod, unit of systemd
//	depth, backlog
//	oldest_ns       age of the entry at the head of the queue
//	enqueued, accepted, close_wait, reset, purged   since the start
//	wait_ns         {"p50", "p90", "p99", "max"} of the accepted; not in mode
//	                restricted
//	accepted_seen   in mode restricted, of the accepted, those that a look at the
//	                queue had caught waiting
//	seen_wait_ns    {"p50", "p90", "p99", "max"} of accepted_seen: these waited
//	                the longest, and the percentiles of all are not known
//	accepted_at_least   instead of accepted, where that is not known
//	overflow        refused because the queue was full, the sum of overflow_syn
//	                and overflow_last_ack; what a client sends again counts again
//	migrated_in     came from a listener of the same SO_REUSEPORT group when it
//	                closed
//	migrated_out    left for another listener of the group
//	max_depth       greatest depth of one queue; left out of a part of a
//	                recording before which the queue had been as deep
//	full_ns         time with a full queue, the sum over the listeners
//	accept_errors   [{"pid", "comm", "errno", "count", "last"}] failed calls of
//	                accept() by process and errno, and when the last one failed;
//	                without pid: of processes too many to tell apart
//	lost            connections that entered and left unexplained; not in mode
//	                restricted
//	unaccepted      {"ESTABLISHED", "CLOSE_WAIT", "CLOSE", "SYN_RECV"} in the
//	                queue now
//	held_close_wait connections in CLOSE_WAIT that were accepted and are still
//	                open in a process: never part of unaccepted
//	held            [{"pid", "comm", "fds", "sockets"}] who has these, by which
//	                descriptors; without pid: not known who
//
// The keys from overflow to accept_errors are left out in mode restricted, which
// does not count them. It does not see accept(): accepted is how many had entered
// the queue (queued at the start, or enqueued) and were not in it any more at the
// last look, but for those that left when their listener was closed. Enqueued lacks
// connections by MPTCP there, so that of a listener that takes these, or that was
// closed between two looks, accepted_at_least is told; it is what was not missed.
//
// type "diagnosis", why connections are not accepted at one listener:
//
//	time, listener, netns, mode
//	verdicts        [{"cause", "confidence", "summary", "evidence",
//	                "would_refute", "what_to_do", "missing"}] the likeliest first.
//	                cause is a word, of which nothing_wrong and cannot_tell name
//	                none; confidence is high, medium or low; missing is what
//	                could not be seen
//	evidence        what the verdicts rest on: diagnose.Evidence
//
// type "loss", something that was not seen: what (a word), text, count.
//
// type "summary", the last line: time, mode, duration_ns, listeners (number of
// listener lines before it), accepted (or accepted_at_least, if one of them has
// that), close_wait, reset, purged, losses (the sum of the loss lines); and, but in mode restricted, overflow and
// failed_accepts, with accept_errors_elsewhere, as accept_errors
// of a listener, of those whose listener is not known.
//
// # Snapshots
//
// A look has its time in all of its lines, and ends with a summary of its own.
// Its lines of type "listener" come with the worst first. They have the keys
// listener, netns, owners, depth, backlog, oldest_ns, unaccepted,
// held_close_wait and held as above, none of what is counted since a start, and
//
//	time                 of the look
//	listeners            how many share the address, if several do
//	close_derived        true: CLOSE of unaccepted is not counted, but what is in
//	                     the queue and was not listed (mode diag), nor when it was
//	                     listed again and was the same
//	not_looked_at        entries of a state that is not known: of MPTCP, or of a
//	                     queue that moved, or to which connections may have been
//	                     steered from another port; of unaccepted, only CLOSE_WAIT
//	                     is then told, as far as it was listed
//	other_addresses      entries that came to other addresses than --addr, -4 or -6
//	                     ask for: they are in depth, and in no other count of the
//	                     queue
//	excess               connections that were listed without a process and are not
//	                     in the queue: just accepted, or MPTCP
//	ages                 [{"below_ns", "count"}] entries by how long they have
//	                     been queued, each in one count; the last has no bound
//	age_unknown          entries that are in none of these
//	unread_bytes         that queued clients have sent, but for those that were not
//	                     listed, and those of MPTCP
//	dropped              SYNs and last ACKs that were dropped since the listener
//	                     was made, most often because the queue was full; what a
//	                     client sends again counts again
//	none_accepted_since  a time since which it is known that nothing has been
//	                     accepted; what is left out says nothing
//	accepted_at_most     how many can have been accepted since
//	                     accepted_at_most_since; both are wrong by what moves
//	                     between listeners (net.ipv4.tcp_migrate_req), as is
//	                     none_accepted_since
//
// and in held silent_ns, since when nothing has come from the client of these
// that was heard longest ago. In mode diag ages are as exact as the kernel's tick
// (1 to 10 ms), in mode walk to the microsecond.
//
// type "connection", an entry of the queue, the oldest first: time, listener,
// local (the connection's own end), peer, age_ns (since it was queued), state,
// unread_bytes (0 is left out where clients may come by MPTCP: what those have
// sent waits elsewhere), netns, cookie.
//
// The summary has time, mode (walk or diag), duration_ns (that the look took),
// listeners, depth (of all), dead (of these, known to be in CLOSE_WAIT or CLOSE),
// held_close_wait (left out if it is not known of all), losses.
//
// # Tables
//
// CSV and Parquet hold the events only, a row each: see EventRow.
//
// # Timelines
//
// Perfetto has the depth of queues as of samples and of events that tell it, and
// waits of connections that were accepted or purged.
package export
