package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"acceptwatch/internal/event"
	"acceptwatch/internal/golden"
)

// rowsOf are the events of the other tests as rows, and as the lines of JSON.
func rowsOf(t *testing.T) (rows []EventRow, lines []map[string]any) {
	t.Helper()
	for _, e := range events() {
		bound := netip.MustParseAddrPort("0.0.0.0:8000")
		if !e.Local.IsValid() {
			bound = netip.AddrPort{}
		}
		at := time.Unix(1715950800, e.Time)
		rows = append(rows, RowOf(&e, at, bound))
		decoder := json.NewDecoder(bytes.NewReader(AppendEvent(nil, &e, at, bound)))
		decoder.UseNumber()
		line := map[string]any{}
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return rows, lines
}

// joined is the address and port of two cells.
func joined(addr, port string) string {
	if addr == "" {
		return ""
	}
	n, _ := strconv.Atoi(port)
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(n)).String()
}

// A row says what the line of JSON says, and what the one leaves out is empty in
// the other.
func TestRowsSayWhatLinesSay(t *testing.T) {
	rows, lines := rowsOf(t)
	for i := range rows {
		cells := map[string]string{}
		row := reflect.ValueOf(&rows[i]).Elem()
		for j, name := range Columns() {
			cells[name] = cell(row.Field(j))
		}
		cells["time"] = time.Unix(0, rows[i].Time).UTC().Format(timeFormat)
		for _, end := range []string{"listener", "peer"} {
			cells[end] = joined(cells[end], cells[end+"_port"])
			delete(cells, end+"_port")
		}
		delete(lines[i], "type")
		for name, value := range lines[i] {
			text, isText := value.(string)
			if !isText {
				text = value.(json.Number).String()
			}
			if cells[name] != text {
				t.Errorf("row %d: %s is %q, and %q in JSON", i, name, cells[name], text)
			}
			delete(cells, name)
		}
		for name, text := range cells {
			if text != "" {
				t.Errorf("row %d: %s is %q, and not in JSON", i, name, text)
			}
		}
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	c := NewCSV(&b)
	rows, _ := rowsOf(t)
	for i := range rows {
		if err := c.Write(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "events.csv", b.Bytes())
	back, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(back) != len(rows)+1 {
		t.Errorf("%d lines: %v", len(back), err)
	}

	b.Reset()
	if err := NewCSV(&b).Close(); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("of nothing: %q, %v", b.String(), err)
	}
}

func TestParquetHasRealTypesAndReadsBack(t *testing.T) {
	var b bytes.Buffer
	p := NewParquet(&b)
	few, _ := rowsOf(t)
	var want []EventRow
	for range (rowGroup + 5000) / len(few) { // two row groups
		want = append(want, few...)
	}
	for i := range want {
		row := want[i]
		if err := p.Write(&row); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(file.RowGroups()); n < 2 {
		t.Errorf("%d row groups", n)
	}
	for name, kind := range map[string]string{
		"time": "TIMESTAMP(isAdjustedToUTC=true,unit=NANOS)", "event": "STRING", "listener": "STRING",
		"listener_port": "INT(32,true)", "wait_ns": "INT(64,true)", "cookie": "INT(64,false)", "comm": "STRING",
	} {
		leaf, ok := file.Schema().Lookup(name)
		if !ok || leaf.Node.Type().String() != kind {
			t.Errorf("%s: %v, want %s", name, leaf.Node.Type(), kind)
		}
		if required := name == "time" || name == "event"; ok && leaf.Node.Optional() == required {
			t.Errorf("%s may be missing: %v", name, leaf.Node.Optional())
		}
	}
	got, err := parquet.Read[EventRow](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%d rows, want %d: %v", len(got), len(want), err)
	}
}

func TestTimeline(t *testing.T) {
	var b bytes.Buffer
	began := time.Unix(1715950800, 0)
	p := NewPerfetto(&b, "host-1", began)
	local, peer := netip.MustParseAddrPort("127.0.0.1:8000"), netip.MustParseAddrPort("127.0.0.1:51234")
	at := func(ms int64) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	write := func(e event.Event, ms int64) {
		t.Helper()
		e.Local, e.NetNS, e.Family, e.Time = local, 7, 2, ms*1e6
		if err := p.Event(&e, at(ms), local); err != nil {
			t.Fatal(err)
		}
	}
	for _, depth := range []uint32{0, 0, 3} { // which is told when it changes
		if err := p.Depth(at(100), 7, local, depth); err != nil {
			t.Fatal(err)
		}
	}
	write(event.Event{Kind: event.Stall, Queued: 500e6, Depth: 3, Backlog: 128}, 1500)
	write(event.Event{Kind: event.CloseWait, Queued: 400e6, Peer: peer, State: event.CloseWaited}, 1600)
	write(event.Event{Kind: event.StallEnd, Queued: 500e6, Depth: 2, Backlog: 128, Ended: event.EndedByAccept}, 2000)
	write(event.Event{Kind: event.Accepted, Queued: 400e6, Peer: peer, State: event.CloseWaited, Depth: 2, PID: 5, TID: 6, Comm: comm("s")}, 2000)
	write(event.Event{Kind: event.Accepted, Queued: -5e9, Peer: peer, State: event.Established, Depth: 1, PID: 5, TID: 6, Comm: comm("s")}, 2001)
	write(event.Event{Kind: event.AcceptError, Errno: 24, PID: 5, Comm: comm("s"), Repeats: 9}, 2100)
	write(event.Event{Kind: event.Stall, Queued: 2001e6, Depth: 1, Backlog: 128}, 3100)
	if err := p.Depth(at(4000), 8, local, 1); err != nil { // in another network namespace
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "timeline.json", b.Bytes())
	checkTimeline(t, b.Bytes())
}
