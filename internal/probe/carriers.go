package probe

import (
	"fmt"

	"acceptwatch/internal/preflight"
)

// Several kernel functions see the same thing happen. An entry is cheaper to watch
// than a return by a third, and a function that is seldom called by all of its
// cost, so each plan takes the cheapest that this kernel has; what they cost is in
// COST.md.

const (
	rdonlyCast = "bpf_rdonly_cast"

	inetAccept = "__inet_accept"
	cskAccept  = "inet_csk_accept"

	childProcess = "tcp_child_process"
	hashdance    = "inet_csk_complete_hashdance"
	queueAdd     = "inet_csk_reqsk_queue_add"

	tcpFin     = "tcp_fin"             // to CLOSE_WAIT
	tcpFailure = "tcp_done_with_error" // to CLOSE
	setState   = "tcp_set_state"
)

// castable says that a typed program on the entry of the function, which has
// three parameters, gets from there to what it needs.
func castable(f *preflight.Features, symbol string) bool {
	return f.Functions[rdonlyCast].InBTF && f.Functions[symbol].Params == 3
}

// addAccept adds the hook that sees connections leave the queue.
func (p *Plan) addAccept(f *preflight.Features) error {
	exit, err := acceptExit(f)
	switch {
	case castable(f, inetAccept):
		p.add(f, hook{way: onTyped(tracingProgInetAcceptEntry), symbol: inetAccept, role: RoleAccept, replaceable: err == nil})
		return nil
	case err != nil:
		return err
	}
	p.add(f, hook{way: onTyped(exit), symbol: cskAccept, role: RoleAccept})
	return nil
}

// acceptExit is the program that fits inet_csk_accept.
func acceptExit(f *preflight.Features) (string, error) {
	if err := present(f, cskAccept); err != nil {
		return "", err
	}
	switch n := f.Functions[cskAccept].Params; n {
	case 2:
		return tracingProgAcceptExitTwoArgs, nil
	case 4:
		return tracingProgAcceptExitFourArgs, nil
	default:
		return "", fmt.Errorf("%s has %d parameters, which this version does not know", cskAccept, n)
	}
}

// enqueueHooks see connections enter the queue.
func enqueueHooks(f *preflight.Features) []hook {
	if castable(f, childProcess) {
		return []hook{
			{way: onTyped(tracingProgChildEntry), symbol: childProcess, role: RoleEnqueue, replaceable: f.Functions[hashdance].InBTF},
			{way: onTyped(tracingProgFastOpenExit), symbol: queueAdd, role: RoleEnqueue},
		}
	}
	return []hook{
		{way: onTyped(tracingProgHashdanceExit), symbol: hashdance, role: RoleEnqueue},
		{way: onTyped(tracingProgQueueAddExit), symbol: queueAdd, role: RoleEnqueue},
	}
}

// addState adds the hooks that see connections die: those that run only then,
// or, on kernels where they are not enough, the one that every change of state
// passes. Stable kernels since 5.15 have tcp_done_with_error, but tcp_abort, which
// is ss -K and bpf_sock_destroy, does without it there.
func (p *Plan) addState(f *preflight.Features, every, fin, failure way) error {
	old := present(f, setState)
	if !f.AtLeast(6, 11) || present(f, tcpFin, tcpFailure) != nil {
		if old == nil {
			p.add(f, hook{way: every, symbol: setState, role: RoleState})
		}
		return old
	}
	p.add(f, hook{way: fin, symbol: tcpFin, role: RoleState, replaceable: old == nil})
	p.add(f, hook{way: failure, symbol: tcpFailure, role: RoleState, replaceable: old == nil})
	return nil
}
