//go:build browser

package report

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browser is a headless Chromium, driven over two pipes (its
// --remote-debugging-pipe): messages of JSON, each ended by a NUL.
type browser struct {
	tb       testing.TB
	to, in   *os.File
	from     *bufio.Reader
	session  string
	last     int
	problems []string // what the console said, and what threw
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// How long a browser may take on a busy machine: to start, of which it gets
// several tries, and to answer.
const (
	startWithin  = time.Minute
	startTries   = 3
	answerWithin = 2 * time.Minute
	showWithin   = 30 * time.Second // what a page is expected to show
)

// browserPath is the one that is installed, or that of ACCEPTWATCH_BROWSER.
func browserPath(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("ACCEPTWATCH_BROWSER"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-headless-shell", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Fatal("no Chromium is installed: install Debian's chromium, or name one in ACCEPTWATCH_BROWSER")
	return ""
}

// startBrowser starts a browser that has nothing of those before, and opens a tab.
func startBrowser(tb testing.TB) *browser {
	tb.Helper()
	path := browserPath(tb)
	var b *browser
	for try := 1; ; try++ {
		b = launch(tb, path)
		err := b.within(startWithin, func() error { return b.try("Browser.getVersion", nil, nil) })
		if err == nil {
			break
		}
		if try == startTries {
			tb.Fatalf("start %s: %v", path, err)
		}
		tb.Logf("start %s, try %d of %d: %v", path, try, startTries, err)
	}
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// launch starts a browser, which ends with the test.
func launch(tb testing.TB, path string) *browser {
	tb.Helper()
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+tb.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	tb.Cleanup(func() {
		ourOut.Close() // it ends when its pipe does
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		ourIn.Close()
	})
	return &browser{tb: tb, to: ourOut, in: ourIn, from: bufio.NewReaderSize(ourIn, 1<<20)}
}

// within does something that must not take longer.
func (b *browser) within(limit time.Duration, do func() error) error {
	if err := b.in.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return do()
}

// call sends a command and waits for its answer.
func (b *browser) call(method string, params, result any) {
	b.tb.Helper()
	if err := b.within(answerWithin, func() error { return b.try(method, params, result) }); err != nil {
		b.tb.Fatalf("%s: %v", method, err)
	}
}

func (b *browser) try(method string, params, result any) error {
	b.last++
	id := b.last
	command := map[string]any{"id": id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	raw, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(raw, 0)); err != nil {
		return err
	}
	for {
		m, err := b.read()
		switch {
		case err != nil:
			return err
		case m.ID != id:
		case m.Error != nil:
			return errors.New(string(m.Error))
		case result == nil:
			return nil
		default:
			return json.Unmarshal(m.Result, result)
		}
	}
}

func (b *browser) read() (m message, err error) {
	raw, err := b.from.ReadBytes(0)
	if err != nil {
		return m, fmt.Errorf("the browser does not answer: %w", err)
	}
	if err := json.Unmarshal(bytes.TrimSuffix(raw, []byte{0}), &m); err != nil {
		return m, err
	}
	switch m.Method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
		b.problems = append(b.problems, string(m.Params))
	case "Network.requestWillBeSent":
		var sent struct{ Request struct{ URL string } }
		if err := json.Unmarshal(m.Params, &sent); err != nil || !strings.HasPrefix(sent.Request.URL, "file://") {
			b.problems = append(b.problems, "asked for "+sent.Request.URL)
		}
	}
	return m, nil
}

// open opens a page in a window of so many pixels, light or dark, and waits until
// it is there.
func (b *browser) open(path string, width, height int, scheme string) {
	b.tb.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	err := b.within(answerWithin, func() error {
		for {
			if m, err := b.read(); err != nil || m.Method == "Page.loadEventFired" {
				return err
			}
		}
	})
	if err != nil {
		b.tb.Fatalf("open %s: %v", path, err)
	}
}

// eval gives the value of an expression as JSON.
func (b *browser) eval(expression string) string {
	b.tb.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		b.tb.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	return string(got.Result.Value)
}

// picture saves what the page looks like, as a whole, if PICTURES names a
// directory.
func (b *browser) picture(name string) {
	b.tb.Helper()
	dir := os.Getenv("PICTURES")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.tb.Fatal(err)
	}
}

// expect waits until an expression has a value.
func (b *browser) expect(expression, want string) {
	b.tb.Helper()
	for end := time.Now().Add(showWithin); ; time.Sleep(20 * time.Millisecond) {
		got := b.eval(expression)
		if got == want {
			return
		}
		if time.Now().After(end) {
			b.tb.Errorf("%s is %s, want %s", expression, got, want)
			return
		}
	}
}

func (b *browser) quiet() {
	b.tb.Helper()
	for _, p := range b.problems {
		b.tb.Errorf("the page complained: %s", p)
	}
}

func pageFile(tb testing.TB, r *Report) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "report.html")
	if err := os.WriteFile(path, htmlOf(tb, r), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

// In every width and scheme, a page shows its charts, fits its window, says
// nothing on the console and asks for nothing.
func TestPageInABrowser(t *testing.T) {
	pages := map[string]string{
		"incident": pageFile(t, read(t, incident(t))),
		"crowd":    pageFile(t, read(t, crowd(t))),
		"quiet":    pageFile(t, read(t, quiet(t))),
	}
	b := startBrowser(t)
	for name, path := range pages {
		for _, width := range []int{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s %d %s", name, width, scheme), func(t *testing.T) {
					b.tb, b.problems = t, nil
					b.open(path, width, 900, scheme)
					b.picture(fmt.Sprintf("%s-%d-%s", name, width, scheme))
					b.expect(`document.querySelectorAll("#charts svg[role=img]").length`, "1")
					b.expect(`document.documentElement.scrollWidth <= innerWidth`, "true")
					b.expect(`[...document.querySelectorAll("path")].some(p => /NaN|Infinity|undefined/.test(p.getAttribute("d")))`, "false")
					b.expect(`getComputedStyle(document.body).backgroundColor === "rgb(246, 247, 249)"`, fmt.Sprint(scheme == "light"))
					b.quiet()
				})
			}
		}
	}
}

func TestPageSortsFiltersAndShowsOtherListeners(t *testing.T) {
	b := startBrowser(t)
	b.open(pageFile(t, read(t, crowd(t))), 1280, 900, "light")
	first := `document.querySelector("#listeners tbody tr:not([hidden]) td").textContent`
	shown := `document.querySelectorAll("#listeners tbody tr:not([hidden])").length`
	b.expect(shown, "1000")
	worst := b.eval(first)

	b.eval(`document.querySelectorAll("#listeners th button")[3].click()`)
	b.expect(`document.querySelector("#listeners th:nth-child(5)").getAttribute("aria-sort")`, `"descending"`)
	sorted := `(rows => rows.every((r, i) => !i || +rows[i-1].cells[4].dataset.v >= +r.cells[4].dataset.v))([...document.querySelectorAll("#listeners tbody tr")])`
	b.expect(sorted, "true")
	b.eval(`document.querySelectorAll("#listeners th button")[3].click()`)
	b.expect(`document.querySelector("#listeners th:nth-child(5)").getAttribute("aria-sort")`, `"ascending"`)
	b.expect(sorted, "false")

	b.eval(`(f => { f.value = ":8123"; f.dispatchEvent(new Event("input")); })(document.getElementById("find"))`)
	b.expect(shown, "1")
	b.expect(`document.getElementById("found").textContent`, `"1 of 1,000 shown"`)
	b.eval(`(f => { f.value = ""; f.dispatchEvent(new Event("input")); })(document.getElementById("find"))`)
	b.eval(`document.getElementById("trouble").click()`)
	b.expect(shown, "20")
	b.expect(`document.querySelectorAll("#listeners tbody tr.t:not([hidden])").length`, "20")

	b.expect(`document.querySelector("#view").selectedOptions[0].textContent`, worst)
	b.eval(`document.querySelectorAll("#listeners a[data-view]")[5].click()`)
	b.expect(`document.querySelector("#charts svg[role=img]").getAttribute("aria-label").includes(document.querySelectorAll("#listeners a[data-view]")[5].textContent)`, "true")

	b.eval(`(s => { s.focus({preventScroll: true}); s.dispatchEvent(new KeyboardEvent("keydown", {key: "End"})); })(document.querySelector("#charts svg[role=img]"))`)
	b.expect(`document.getElementById("tip").hidden`, "false")
	b.expect(`document.getElementById("tip").textContent.includes("in the queue")`, "true")
	b.eval(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}))`)
	b.expect(`document.getElementById("tip").hidden`, "true")
	b.quiet()
}

// Whatever a process calls itself, or the file says, is text.
func TestHostileNamesDoNothingInABrowser(t *testing.T) {
	b := startBrowser(t)
	b.open(pageFile(t, read(t, hostile(t))), 1280, 900, "light")
	b.expect(`window.owned === undefined`, "true")
	b.expect(`document.querySelectorAll("img, iframe, object, link").length`, "0")
	b.expect(`document.querySelectorAll("script").length`, "2")
	b.expect(`document.body.innerText.includes("</script><b>")`, "true")
	b.quiet()
}
