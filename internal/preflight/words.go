package preflight

import (
	"fmt"
	"strings"

	"acceptwatch/internal/capability"
)

// negative ends the sentence "fentry ..." for a trial that did not work.
func negative(t Trial) string {
	switch t.Reason {
	case Privilege:
		return "needs more privileges"
	case Policy:
		return "is refused by a policy of this host"
	case Lacking:
		return "is not in this kernel"
	case Exhausted:
		return "could not be tried for want of resources"
	case Unexplored:
		return "could not be tried"
	case Strange:
		return "failed in an unknown way"
	default:
		return "works"
	}
}

// lower is the name of a capability as setcap has it, without "cap_".
func lower(c capability.Capability) string { return strings.ToLower(c.Short()) }

// privilegeRemedy says how to get the capabilities that are missing.
func privilegeRemedy(f *Features) string {
	if !f.OuterUser {
		return "run it on the host, or in a container without a user namespace of its own"
	}
	if !f.AtLeast(5, 8) {
		return "run it with sudo"
	}
	return "run it with sudo, or: sudo setcap " + strings.Join(neededCaps(f), ",") +
		"+ep $(command -v acceptwatch)"
}

// neededCaps lists the capabilities that eBPF needs; naming owners and
// entering namespaces need more, which their own findings say.
func neededCaps(f *Features) []string {
	var caps []string
	for _, c := range capability.Watching() {
		if c.Required() {
			caps = append(caps, "cap_"+lower(c))
		}
	}
	if f.Memlock.Counts {
		caps = append(caps, "cap_"+lower(capability.LockedMemory()))
	}
	return caps
}

// policyRemedy says who can change a refusal that capabilities do not lift.
func policyRemedy(f *Features) string {
	switch {
	case f.Seccomp:
		return "allow bpf and perf_event_open in the container's seccomp profile, or run it privileged"
	case f.Lockdown == "confidentiality":
		return "boot with lockdown=integrity, if your policy allows"
	default:
		return "ask whoever sets the security policy of this kernel"
	}
}

// remedy says what to do about a trial that did not work; lacking is the
// answer if the kernel does not have it.
func remedy(f *Features, t Trial, lacking string) string {
	switch t.Reason {
	case Privilege:
		return "" // said once, by the finding about privileges
	case Policy:
		return policyRemedy(f)
	case Lacking:
		return lacking
	case Exhausted:
		return "try again when there is more memory and descriptors left"
	case Strange:
		return "report the error, with the kernel's version"
	default:
		return ""
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func capsText(set capability.Set) string {
	var names []string
	for _, c := range append(capability.Watching(), capability.LockedMemory()) {
		if set.Has(c.Bit) {
			names = append(names, lower(c))
		}
	}
	if len(names) == 0 {
		return "none of the capabilities that matter"
	}
	return "capabilities: " + strings.Join(names, ", ")
}

func bytesText(n uint64) string {
	switch {
	case n == 1<<64-1:
		return "unlimited"
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
