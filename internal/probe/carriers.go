package probe

import (
	"fmt"

	"acceptwatch/internal/preflight"
)

// Several kernel functions see the same thing happen. An entry is cheaper to watch
// than a return by a third, and a function that is seldom called by all of its
// cost, so each plan takes the cheapest that this kernel has and that misses
// nothing; what they cost is in the README.

const (
	rdonlyCast = "bpf_rdonly_cast"

	inetAccept = "__inet_accept"

	childProcess = "tcp_child_process"
	hashdance    = "inet_csk_complete_hashdance"
	queueAdd     = "inet_csk_reqsk_queue_add"

	tcpFin     = "tcp_fin"             // to CLOSE_WAIT
	tcpFailure = "tcp_done_with_error" // to CLOSE
)

// castable says that a typed program on the entry of the function, which has
// three parameters, gets from there to what it needs.
func castable(f *preflight.Features, symbol string) bool {
	return f.Functions[rdonlyCast].InBTF && f.Functions[symbol].Params == 3
}

// addAccept adds the hook that sees connections leave the queue.
func (p *Plan) addAccept(f *preflight.Features) error {
	if castable(f, inetAccept) {
		p.add(f, hook{way: onTyped(tracingProgInetAcceptEntry), symbol: inetAccept, role: RoleAccept})
		return nil
	}
	program := ""
	switch n := f.Functions["inet_csk_accept"].Params; n {
	case 2:
		program = tracingProgAcceptExitTwoArgs
	case 4:
		program = tracingProgAcceptExitFourArgs
	default:
		return fmt.Errorf("inet_csk_accept has %d parameters, which this version does not know", n)
	}
	p.add(f, hook{way: onTyped(program), symbol: "inet_csk_accept", role: RoleAccept})
	return nil
}

// enqueueHooks see connections enter the queue.
func enqueueHooks(f *preflight.Features) []hook {
	if castable(f, childProcess) {
		return []hook{
			{way: onTyped(tracingProgChildEntry), symbol: childProcess, role: RoleEnqueue},
			{way: onTyped(tracingProgFastOpenExit), symbol: queueAdd, role: RoleEnqueue},
		}
	}
	return []hook{
		{way: onTyped(tracingProgHashdanceExit), symbol: hashdance, role: RoleEnqueue},
		{way: onTyped(tracingProgQueueAddExit), symbol: queueAdd, role: RoleEnqueue},
	}
}

// addState adds the hooks that see connections die: those that run only then,
// or, on kernels that lack one of them, the one that every change of state passes.
func (p *Plan) addState(f *preflight.Features, every, fin, failure way) {
	if !f.Functions[tcpFin].InBTF || !f.Functions[tcpFailure].InBTF {
		p.add(f, hook{way: every, symbol: "tcp_set_state", role: RoleState})
		return
	}
	p.add(f, hook{way: fin, symbol: tcpFin, role: RoleState})
	p.add(f, hook{way: failure, symbol: tcpFailure, role: RoleState})
}
