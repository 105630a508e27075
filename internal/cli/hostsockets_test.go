package cli

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/netns"
)

// However much could not be looked at, a person is told in one sentence.
func TestWhatCouldNotBeSeenIsOneSentence(t *testing.T) {
	const (
		missing = ", so what listens only there is missing ("
		remedy  = missing + "it needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE)"
	)
	enter := func(inode uint32) error {
		return &netns.EnterError{NS: netns.NS{Inode: inode, Path: "/x"}, Err: unix.EPERM}
	}
	denied := &netns.DeniedError{Processes: 1041, Err: unix.EACCES}
	for _, test := range []struct {
		errs   []error
		want   string
		broken bool
	}{
		{nil, "", false},
		{[]error{enter(1)}, "1 network namespace cannot be entered" + remedy, false},
		{[]error{enter(1), enter(2)}, "2 network namespaces cannot be entered" + remedy, false},
		{[]error{denied}, "the network namespaces of 1,041 processes are not known" + remedy, false},
		{[]error{denied, enter(1)}, "1 network namespace cannot be entered, and those of 1,041 processes are not known" + remedy, false},
		{[]error{errors.New("no memory"), enter(1)}, "1 network namespace cannot be entered" + remedy + "; no memory", true},
		{[]error{&netns.EnterError{NS: netns.NS{Inode: 7, Path: "/x"}, Err: unix.EMFILE}},
			"enter network namespace net:[7] by /x: too many open files", true},
	} {
		unseen := &unseenError{}
		for _, err := range test.errs {
			unseen.add(err)
		}
		err := unseen.orNil()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != test.want || broken(err) != test.broken {
			t.Errorf("%v: %q, broken %v", test.errs, text, broken(err))
		}
	}
	if err := (&unseenError{processes: 1, evenRoot: true}); err.Error() != "the network namespaces of 1 process are not known"+missing+capability.EvenRoot+")" {
		t.Errorf("refused to root: %q", err)
	}
	if !broken(unix.EIO) || broken(nil) {
		t.Error("any other error is broken, and none is not")
	}
}
