// Package report makes a report of a trace file: what happened, in words first,
// then in numbers. It reads the records of package recording once, in bounded
// memory, keeps the state of listeners as a live trace does (package listener),
// and writes the result as text, as JSON Lines, or as a page of HTML that needs
// nothing else. It reads no clock and nothing of the host.
//
// # JSON Lines
//
// The lines of a trace of package export (listener, loss, summary), with the
// same keys, and these, in this order; each has a "type", and keys ending in
// _ns are nanoseconds:
//
//	report    from, to, duration_ns, host, kernel, mode, stall_after_ns, events
//	          (recorded, but for walks), headline (a sentence), trouble
//	          (whether clients were not served), findings [{kind, listener,
//	          text}]; damages, torn and skipped of a file that is not whole
//	listener  as at the end of a trace, the worst first
//	timeline  listener, netns, from, width_ns, columns: a list for each column
//	          of depth (the greatest), backlog, accepted, gave_up, overflow,
//	          accept_errors, purged (of recorded events) and wait_ns p50, p99
//	          (within 12 %) and max; no listener: the sum of all. In mode
//	          restricted accepted and wait_ns are of those that a look at the
//	          queue caught waiting
//	patience  listener, netns, gave_up (whose wait is known), late, vanished,
//	          bins [{from_ns, to_ns, count}], clusters [{mean_ns, count, share}]:
//	          how long those waited who gave up in the queue
//	stall     listener, netns, from, to, duration_ns, ended (accept, close,
//	          empty, none), by, before (who accepted next and last), errno,
//	          failing, accept_errors, depth, backlog, gave_up, overflow; the
//	          longest first. Of one that began before the recording, gave_up has
//	          who was found dead then. Of one that began more than a minute before the part
//	          that is reported, before may be missing, and what happened earlier
//	          is not counted
//	diagnosis why nobody accepted in a stall, as in package export
//	wait      listener, netns, time, wait_ns, peer, state, event (accepted,
//	          purged), pid, tid, comm, unread_bytes: the longest waits
//	loss, summary
package report
