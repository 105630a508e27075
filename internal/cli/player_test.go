package cli

import (
	"context"
	"testing"
	"time"

	"acceptwatch/internal/ui/top"
)

// playing is a player of 2 minutes from 1000 s on, and the time of whoever looks.
func playing() (p *player, now *int64) {
	now = new(int64)
	p = newPlayer(func() int64 { return *now })
	p.canSeek = true
	p.begin(1000*second, 1120*second)
	p.caught = true
	return p, now
}

func TestPlayerGoesAsFastAsItIsTold(t *testing.T) {
	p, now := playing()
	for _, step := range []struct {
		do   top.Command
		pass time.Duration
		want int64 // s since its beginning
	}{
		{top.Command{}, 3 * time.Second, 3},
		{top.Command{Faster: true}, 3 * time.Second, 9},
		{top.Command{Pause: true}, time.Minute, 9},
		{top.Command{Faster: true}, time.Minute, 9},
		{top.Command{Pause: true}, time.Second, 13},
		{top.Command{Slower: true}, time.Second, 15},
	} {
		p.obey(step.do)
		*now += int64(step.pass)
		if got := p.tape().At/second - 1000; got != step.want {
			t.Errorf("%+v, and %s later: at %d s, want %d", step.do, step.pass, got, step.want)
		}
	}
}

func TestPlayerSeeksToFullMultiples(t *testing.T) {
	const by = 10 * time.Second
	for _, test := range []struct {
		at    int64 // s since its beginning
		seeks []time.Duration
		want  int64
	}{
		{0, []time.Duration{by}, 10},
		{7, []time.Duration{by}, 10},
		{7, []time.Duration{-by}, 0},
		{17, []time.Duration{-by}, 10},
		{20, []time.Duration{-by}, 10},
		{20, []time.Duration{by, by, by}, 50},
		{20, []time.Duration{by, by, -by}, 30},
		{20, []time.Duration{6 * by}, 60},
		{0, []time.Duration{-by}, 0},
		{115, []time.Duration{by, by}, 120},
	} {
		p, _ := playing()
		p.at = (1000 + test.at) * second
		for _, seek := range test.seeks {
			p.obey(top.Command{Seek: seek})
		}
		if !p.reach(context.Background(), 5000*second) {
			t.Errorf("%d s, %v: nothing else is wanted", test.at, test.seeks)
		} else if got := p.take()/second - 1000; got != test.want {
			t.Errorf("%d s, %v: %d, want %d", test.at, test.seeks, got, test.want)
		}
	}
}

// What is behind does not wait, and what is ahead does, until something else is
// wanted.
func TestPlayerWaitsForItsTime(t *testing.T) {
	p, _ := playing()
	p.paused = true
	if p.reach(context.Background(), 999*second) {
		t.Error("what is behind is not shown")
	}
	arrived := 0
	p.caught = false
	p.arrive = func() { arrived++ }
	p.redraw = func() { p.obey(top.Command{Begin: true}) }
	if !p.reach(context.Background(), 1001*second) || arrived != 1 {
		t.Errorf("what is ahead was shown; it arrived %d times", arrived)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.take()
	p.redraw = cancel
	if p.over(ctx, 1119*second) || !p.tape().Ended || p.tape().At != 1120*second {
		t.Errorf("at the end: %+v", p.tape())
	}
}

// What cannot be read as fast as it is to be played is played as fast as it is read,
// so that what the user does is about what is on the screen.
func TestPlayerWaitsForWhatIsLate(t *testing.T) {
	p, now := playing()
	p.obey(top.Command{Faster: true}) // 2 s a second, of which 1 can be read
	for at := 1000 * second; at < 1060*second; at += second {
		*now += second
		if p.reach(context.Background(), at) {
			t.Fatalf("at %d s something else is wanted", at/second)
		}
		if got := p.tape().At; got != at {
			t.Fatalf("it is at %d s, and %d s are shown", got/second, at/second)
		}
	}
	p.reach(context.Background(), 1050*second) // it came out of order
	if got := p.tape().At; got != 1059*second {
		t.Errorf("it went back to %d s", got/second)
	}
	*now += int64(mostBehind)
	p.reach(context.Background(), 1059*second)
	if got, want := p.tape().At, 1059*second+2*int64(mostBehind); got != want {
		t.Errorf("it waited for what is hardly late: it is at %d ns, want %d", got, want)
	}
	p.obey(top.Command{Seek: 10 * time.Second})
	if got := p.take(); got != 1060*second {
		t.Errorf("10 s on are at %d s", got/second)
	}
}

// Where a run ends that is not the first one is known when it is over.
func TestPlayerStaysAtAnEndThatIsFound(t *testing.T) {
	p, _ := playing()
	p.begin(1000*second, 0)
	ctx, cancel := context.WithCancel(context.Background())
	p.redraw = cancel
	p.over(ctx, 1030*second)
	if got := p.tape(); got.To != 1030*second || got.At != got.To || !got.Ended {
		t.Errorf("%+v", got)
	}
	p.obey(top.Command{Seek: time.Minute})
	if got := p.take(); got != 1030*second {
		t.Errorf("a minute on it is at %d s", got/second)
	}
}

// A part ends where its run does, or before.
func TestPlayerOfAPartEndsWhereItsRunDoes(t *testing.T) {
	for _, test := range []struct {
		name              string
		known, until, end int64 // s, of the run; known 0: not
		before, want      int64 // s: the end that is shown before it is over, and then
		farthest          int64 // s: where two minutes on are, before it is over
	}{
		{"cut, of a known end", 1120, 1050, 1050, 1050, 1050, 1050},
		{"longer than a known end", 1120, 5000, 1120, 1120, 1120, 1120},
		{"cut, of an end that is found", 0, 1050, 1050, 0, 1050, 1050},
		{"longer than an end that is found", 0, 5000, 1030, 0, 1030, 1120},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, now := playing()
			p.begin(1000*second, test.known*second)
			p.confine(1000*second, test.until*second)
			p.caught = true
			*now += 200 * second
			if got := p.tape(); got.To != test.before*second || got.At > test.until*second {
				t.Errorf("before: %+v", got)
			}
			p.at, p.since = 1000*second, *now
			p.obey(top.Command{Seek: 2 * time.Minute})
			if got := p.take(); got != test.farthest*second {
				t.Errorf("two minutes on are at %d s", got/second)
			}
			ctx, cancel := context.WithCancel(context.Background())
			p.redraw = cancel
			p.over(ctx, test.end*second)
			if got := p.tape(); got.To != test.want*second || got.At != got.To || !got.Ended {
				t.Errorf("at its end: %+v", got)
			}
		})
	}
}

// A pipe cannot seek: the keys do nothing.
func TestPlayerOfAPipeStays(t *testing.T) {
	p, _ := playing()
	p.canSeek = false
	p.obey(top.Command{Seek: time.Minute})
	if p.wanted != nil {
		t.Error("it goes elsewhere")
	}
}
