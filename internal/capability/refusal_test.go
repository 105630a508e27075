package capability

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootIsWhoCannotGetMorePrivileges(t *testing.T) {
	all := Bits(Watching())
	for _, test := range []struct {
		name    string
		euid    int
		have    Set
		initial bool
		want    bool
	}{
		{"root", 0, all, true, true},
		{"a user with the capabilities", 1000, all, true, false},
		{"root without one of them", 0, all &^ Of(unix.CAP_SYS_PTRACE), true, false},
		{"root of a user namespace", 0, all, false, false},
	} {
		if got := isRoot(test.euid, test.have, test.initial, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
