package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"acceptwatch/internal/listener"
	"acceptwatch/internal/preflight"
	"acceptwatch/internal/probe"
)

// scraper is a Prometheus that scrapes one target every second, with the alert
// rules of `manifest alerts`.
type scraper struct {
	t   *testing.T
	url string
}

// startPrometheus runs one where it is installed; ACCEPTWATCH_NEED_PROMETHEUS
// demands that it is.
func startPrometheus(t *testing.T, target string, flags ...string) *scraper {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("ACCEPTWATCH_NEED_PROMETHEUS") != "" {
			t.Fatalf("%v: install Debian's package prometheus", err)
		}
		t.Skipf("%v: no Prometheus has read the metrics", err)
	}
	dir := t.TempDir()
	config, rules := filepath.Join(dir, "prometheus.yml"), filepath.Join(dir, "alerts.yml")
	write(t, config, fmt.Appendf(nil,
		"global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: ['%s']\nscrape_configs: [{job_name: acceptwatch, static_configs: [{targets: ['%s']}]}]\n", rules, target))
	write(t, rules, printed(t, "alerts"))
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	cmd := exec.Command(path, append([]string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + at}, flags...)...)
	log := &strings.Builder{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data are removed
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus: %s", log.String())
		}
	})
	return &scraper{t, "http://" + at}
}

// series are the values of an expression; false: it is starting.
func (p *scraper) series(expression string) ([]any, bool) {
	p.t.Helper()
	r, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return nil, false
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return nil, false
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s: %s %s", expression, answer.Status, answer.Error)
	}
	var values []any
	for _, one := range answer.Data.Result {
		values = append(values, one.Value[1])
	}
	return values, true
}

// query is the value of an expression with one series; false: it has none now.
func (p *scraper) query(expression string) (float64, bool) {
	p.t.Helper()
	values, _ := p.series(expression)
	if len(values) > 1 {
		p.t.Fatalf("%s: %d series", expression, len(values))
	}
	if len(values) == 0 {
		return 0, false
	}
	v, err := strconv.ParseFloat(values[0].(string), 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return v, true
}

// patience is after how long something is taken never to happen.
const patience = time.Minute

// await asks until an expression has a value that is right.
func (p *scraper) await(expression string, right func(float64) bool) float64 {
	p.t.Helper()
	var v float64
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		var ok bool
		if v, ok = p.query(expression); ok && right(v) {
			return v
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is %v", expression, v)
		}
	}
}

func equals(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// Prometheus takes the native histogram where it is told to, and else the classic
// one, and gets the same from them: that which was.
func TestPrometheusReadsBothHistograms(t *testing.T) {
	k := incidentKernel()
	const n = 20000
	for i := range n { // from 1 to 100 ms, all alike
		k.waits.Add(time.Millisecond + time.Duration(i)*99*time.Millisecond/n)
	}
	k.counts.Accepted = n
	s := serve(t, opens(k), k)
	target := strings.TrimPrefix(s.url, "http://")
	native := startPrometheus(t, target, "--enable-feature=native-histograms")
	classic := startPrometheus(t, target)
	const of = `acceptwatch_accept_wait_seconds%s{port="8000"}`
	native.await(fmt.Sprintf("histogram_count("+of+")", ""), equals(n))
	classic.await(fmt.Sprintf(of, "_count"), equals(n))
	if _, ok := classic.query(fmt.Sprintf(of, "")); ok {
		t.Error("a server without native histograms has one")
	}
	for q, want := range map[float64]float64{0.5: 0.0505, 0.99: 0.09901} {
		got := native.await(fmt.Sprintf("histogram_quantile(%v, "+of+")", q, ""), func(float64) bool { return true })
		also := classic.await(fmt.Sprintf("histogram_quantile(%v, "+of+")", q, "_bucket"), func(float64) bool { return true })
		// A native bucket is 9 % wide, of which the waits are spread evenly in it.
		if math.Abs(got-want) > want*0.05 || math.Abs(also-want) > want*0.05 {
			t.Errorf("quantile %v: native %v, classic %v; want %v", q, got, also, want)
		}
	}
	for of, p := range map[string]*scraper{"histogram_sum(acceptwatch_accept_wait_seconds{port='8000'})": native, "acceptwatch_accept_wait_seconds_sum{port='8000'}": classic} {
		if sum := p.await(of, func(float64) bool { return true }); math.Abs(sum-n*0.0505) > n*0.0505/64 {
			t.Errorf("%s is %v, want %v", of, sum, n*0.0505)
		}
	}
}

// printed is what `acceptwatch manifest` prints.
func printed(t *testing.T, kind string) []byte {
	t.Helper()
	out, err := self("manifest", kind).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every query of the dashboard has an answer, when there is an incident.
func TestPrometheusAnswersTheDashboard(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(printed(t, "grafana"), &dashboard); err != nil {
		t.Fatal(err)
	}
	k := incidentKernel()
	k.waits.Add(time.Second)
	k.losses = []listener.Loss{{What: "ring_full", Text: "event[|s] found the buffer full", Count: 3}}
	k.failed = []listener.AcceptError{{Key: k.counts.Key, ListenerID: k.counts.ID, PID: 123, Errno: uint16(syscall.EMFILE), Count: 2, Last: k.now}}
	s := serve(t, opens(k), k)
	p := startPrometheus(t, strings.TrimPrefix(s.url, "http://"), "--enable-feature=native-histograms")
	asked := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			asked++
			expression := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$listener", ".*").Replace(target.Expr)
			for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				if values, _ := p.series(expression); len(values) > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("%s: no answer to %s", panel.Title, expression)
					break
				}
			}
		}
	}
	if asked < 20 {
		t.Errorf("%d queries", asked)
	}
}

// A real one scrapes the program on this host, in the mode that most hosts allow.
func TestPrometheusScrapesThisHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("attaching needs root")
	}
	if _, err := probe.MakePlan(preflight.Detect(), probe.Restricted); err != nil {
		t.Skip(err)
	}
	cmd := self("serve", "--listen", "127.0.0.1:0", "--mode", "restricted")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	target := ""
	log := bufio.NewScanner(said)
	for log.Scan() && !strings.Contains(log.Text(), "watching") {
		if _, rest, ok := strings.Cut(log.Text(), "address="); ok {
			target, _, _ = strings.Cut(rest, " ")
		}
	}
	p := startPrometheus(t, target)
	p.await("up", equals(1))
	port, _ := queueHere(t)
	for name, want := range map[string]float64{
		"accept_queue_depth": 3, "accept_queue_limit": 16, "enqueued_total": 3, "close_wait_total": 1, "reset_total": 1, "dead_total": 2, "stalled": 1,
	} {
		p.await(fmt.Sprintf("acceptwatch_%s{port=%q,listener=%q}", name, port, "127.0.0.1:"+port), equals(want))
	}
	p.await(`acceptwatch_lost_total{what="ring_full"}`, equals(0))
	oldest := fmt.Sprintf("acceptwatch_accept_queue_oldest_seconds{port=%q}", port)
	age := p.await(oldest, func(v float64) bool { return v > 0 })
	p.await(oldest, func(v float64) bool { return v > age })
	p.await(fmt.Sprintf("ALERTS{alertname='AcceptQueueStalled', alertstate='firing', port=%q}", port), equals(1))
	for _, name := range []string{"accept_wait_seconds_count", "accepted_total", "overflow_total", "accept_queue_max_depth"} {
		if v, ok := p.query(fmt.Sprintf("acceptwatch_%s{port=%q}", name, port)); ok {
			t.Errorf("%s is %v in a mode that does not know it", name, v)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for log.Scan() {
		t.Errorf("said: %s", log.Text())
	}
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
