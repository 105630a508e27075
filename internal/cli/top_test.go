package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v3"

	"acceptwatch/internal/preflight"
	"acceptwatch/internal/probe"
)

// A recording is played by keys: every screen is that of a moment of it, whenever
// the keys come.
func TestTopPlaysARecordingByKeys(t *testing.T) {
	path := recordNight(t)
	x := openTerminal(t, 80, 24, "cd "+filepath.Dir(path)+" && acceptwatch top -r night.trace")
	x.until("playing 1x")
	x.keys("Space")
	x.until("paused")
	for _, step := range []struct {
		keys string // Escape only at the end: what follows at once would be one key with it
		want string
	}{
		{"0 Right Right", "calm.txt"},
		{"Right Right", "stall.txt"},
		{"Enter", "stall_listener.txt"},
		{"] Right Right", "full_listener.txt"},
		{"G", "full_listener_end.txt"},
		{"Escape", "full.txt"},
		{"s s s s", "full_by_rate.txt"},
		{"S S S S / n g i n", "full_filter.txt"},
		{"Enter Enter", "busy_listener.txt"},
		{"Escape", "full_filter_kept.txt"},
		{"Escape", "full_proxy.txt"},
		{"g", "full.txt"},
		{"?", "help.txt"},
		{"Escape", "full.txt"},
		{"Right", "recovered.txt"},
		{"Left", "full.txt"},
		{"+ +", "faster.txt"},
		{"- -", "full.txt"},
		{"0", "beginning.txt"},
		{"] Right Right", "full.txt"},
		{"j Enter", "failing_listener.txt"},
	} {
		x.keys(strings.Fields(step.keys)...)
		x.shows(step.want)
	}
	x.tmux("resize-window", "-x", "200", "-y", "50")
	x.shows("failing_listener_200.txt")
	x.keys("Escape")
	x.until("Enter open")
	x.keys("k")
	x.shows("full_200.txt")
	x.keys("Enter")
	x.shows("full_listener_200.txt")
	x.keys("q")
	x.until("code 0")
}

// Of the runs of a recording one is played after the other, each to its own end.
func TestTopPlaysAllRuns(t *testing.T) {
	path := recordNight(t)
	x := openTerminal(t, 120, 24, "cat "+path+" "+path+" > two.trace; acceptwatch top -r two.trace")
	x.until("02:00:00 to 02:02:00")
	x.keys(strings.Fields(strings.Repeat("+ ", 10))...)
	x.until("at its end 1024x  02:02:00 of 02:00:00 to 02:02:00")
	x.keys("Space", "0", "]")
	x.until("paused 1024x  02:01:00 of 02:00:00 to 02:02:00")
}

// A part of a recording is all that there is of it.
func TestTopPlaysAPart(t *testing.T) {
	path := recordNight(t)
	x := openTerminal(t, 120, 24, "acceptwatch top --since 70s --until 02:01:40 -r - < "+path)
	x.until("playing 1x  02:01:")
	x.keys("Space")
	x.until("paused")
	x = openTerminal(t, 120, 24, "acceptwatch top --since 70s --until 02:01:40 -r "+path)
	x.until("playing 1x  02:01:")
	x.keys("Space", "0")
	x.until("paused 1x  02:01:10 of 02:01:10 to 02:01:40")
	x.until(" 17/16 ")
	x.keys("[")
	x.until("paused 1x  02:01:10 of")
	x.keys("]")
	x.until("at its end 1x  02:01:40 of")
	x.keys("Left")
	x.until("paused 1x  02:01:30 of")
	x.keys("q")
	x.until("code 0")
	// Nobody knows the end of what comes by a pipe, nor of a second run.
	faster := strings.Fields(strings.Repeat("+ ", 10))
	x = openTerminal(t, 120, 24, "cat "+path+" | acceptwatch top --until 05:00:00 -r -")
	x.until("playing 1x")
	x.keys(faster...)
	x.until("at its end 1024x  02:02:00 of 02:00:00 to 02:02:00")
	x = openTerminal(t, 120, 24, "cat "+path+" "+path+" > two.trace; acceptwatch top --since 70s --until 02:01:40 -r two.trace")
	x.until("playing 1x  02:01:")
	x.keys(faster...)
	x.until("at its end 1024x  02:01:40 of 02:01:10 to 02:01:40")
	x.keys("Space", "Left")
	x.until("paused 1024x  02:01:30 of 02:01:10 to 02:01:40")
	x.keys("]")
	x.until("at its end 1024x  02:01:40 of 02:01:10 to 02:01:40")
	x = openTerminal(t, 120, 24, "acceptwatch top --since 1h -r "+path)
	if screen := x.until("code 2"); !strings.Contains(screen, "--since is after the end") {
		t.Errorf("of nothing:\n%s", screen)
	}
}

// What happens now is shown by the same keys, until the user quits.
func TestTopShowsWhatHappensNow(t *testing.T) {
	x := openTerminal(t, 100, 30, "acceptwatch-busy top --port 8000")
	x.until("accepted/s")
	x.until("127.0.0.1:8000")
	x.until("python3")
	x.keys("Enter")
	x.until("who accepts")
	x.until("python3[123/125]")
	x.keys("Space")
	paused := x.until("PAUSED")
	time.Sleep(300 * time.Millisecond) // three looks, of a kernel whose time flies
	if now := x.screen(); now != paused {
		t.Errorf("it moved:\n%s\nbefore:\n%s", now, paused)
	}
	x.keys("Space")
	x.until("every 1.00 s")
	x.keys("Escape")
	x.until("Enter open")
	x.keys("q")
	x.until("code 0")
}

// The terminal is as it was, after Ctrl-C and after signals that end it too.
func TestTopGivesTheTerminalBack(t *testing.T) {
	x := openTerminal(t, 80, 24, "echo before; acceptwatch-busy top; echo after $?; stty -a")
	x.until("accepted/s")
	x.keys("C-c")
	screen := x.until("-echoprt") // of stty's last line
	for _, want := range []string{"before", "after 0", " echo ", " icanon "} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q after Ctrl-C:\n%s", want, screen)
		}
	}
	for _, signal := range []string{"TERM", "HUP", "QUIT"} {
		x := openTerminal(t, 80, 24, "echo before; sh -c 'echo $$ > pid; exec acceptwatch-busy top'; echo after $?")
		x.until("accepted/s")
		x.signal(signal)
		screen := x.until("after 0")
		if !strings.Contains(screen, "before") {
			t.Errorf("after SIG%s:\n%s", signal, screen)
		}
		if cursor := x.tmux("display-message", "-p", "#{cursor_flag}"); strings.TrimSpace(cursor) != "1" {
			t.Errorf("after SIG%s the cursor is hidden", signal)
		}
	}
}

// Behind the fence, which forbids to open a terminal, it gives the terminal back for a
// while and takes it over again. The second is a real one, where that is permitted.
func TestFencedTopComesBackFromCtrlZ(t *testing.T) {
	for _, command := range []string{"acceptwatch-busy top", "acceptwatch top --mode restricted"} {
		t.Run(command, func(t *testing.T) {
			if strings.HasPrefix(command, "acceptwatch ") {
				needsRestricted(t)
			}
			x := openTerminal(t, 90, 24, "set -m; "+command+"; echo stopped; stty -a; read line; fg")
			x.until("Enter open")
			x.awaitFence()
			x.keys("C-z")
			screen := x.until("-echoprt") // of stty's last line
			for _, want := range []string{"stopped", " echo ", " icanon "} {
				if !strings.Contains(screen, want) {
					t.Errorf("no %q after Ctrl-Z:\n%s", want, screen)
				}
			}
			x.keys("Enter")
			x.until("Enter open")
			x.keys("s") // the first key after it is not lost
			x.until("sort: address")
			x.keys("q")
			x.until("code 0")
		})
	}
}

// awaitFence waits until the shell's child has its filter of system calls.
func (x *terminal) awaitFence() {
	x.t.Helper()
	shell := strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_pid}"))
	for end := time.Now().Add(keyPatience); ; time.Sleep(20 * time.Millisecond) {
		child, _ := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
		status, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/status")
		if strings.Contains(string(status), "\nSeccomp:\t2\n") {
			return
		}
		if time.Now().After(end) {
			x.t.Fatalf("no fence around %q:\n%s", child, status)
		}
	}
}

// needsRestricted passes a test over where mode restricted is not permitted.
func needsRestricted(t *testing.T) {
	t.Helper()
	out, err := exec.Command("acceptwatch", "trace", "--mode", "restricted", "--duration", "1ms").CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitUnavailable {
		if _, err := probe.MakePlan(preflight.Detect(), probe.Restricted); err == nil {
			t.Fatalf("mode restricted works here, and trace says: %s", out)
		}
		t.Skipf("%s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A panic leaves nothing locked that the screen waits for, and gives the terminal
// back.
func TestTopPanicsInTheOpen(t *testing.T) {
	panics := func(run func()) (failure any) {
		defer func() { failure = recover() }()
		run()
		return nil
	}
	v := newTopView(time.Second, false)
	if panics(func() { v.table(1, nil, nil) }) == nil { // there is no clock
		t.Error("nothing was wrong")
	}
	if !v.mu.TryLock() {
		t.Error("the view is locked")
	}
	f := &givenBack{}
	s := &topScreen{Screen: f}
	if got := panics(func() { s.guard(func() { panic("of something beside") }) }); got != "of something beside" || f.times != 1 {
		t.Errorf("panic %v, the terminal was given back %d times", got, f.times)
	}
}

// givenBack is a screen that counts how often it was.
type givenBack struct {
	tcell.Screen
	times int
}

func (g *givenBack) Fini() { g.times++ }

func TestTopWithoutColour(t *testing.T) {
	path := recordNight(t)
	colour := regexp.MustCompile(`\x1b\[[0-9;]*(3[0-8]|9[0-7])[;m]`)
	for _, test := range []struct {
		env    string
		colour bool
	}{{"NO_COLOR=", true}, {"NO_COLOR=1", false}} {
		x := openTerminal(t, 80, 24, "acceptwatch top -r "+path, test.env)
		x.until("playing 1x")
		x.keys("Space", "0", "]", "Right", "Right")
		x.until("02:01:20 of")
		x.until("![2001")
		if got := colour.MatchString(x.tmux("capture-pane", "-e", "-p")); got != test.colour {
			t.Errorf("%s: coloured %t", test.env, got)
		}
	}
}

func TestTopRefusesWhatIsNoScreen(t *testing.T) {
	x := openTerminal(t, 200, 24, "TERM=dumb acceptwatch top")
	screen := x.until("code 2")
	for _, want := range []string{"TERM=dumb is none", "acceptwatch trace"} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q:\n%s", want, screen)
		}
	}
}
