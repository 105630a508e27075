package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersionNamesItsProgramsByTheirSums(t *testing.T) {
	var out bytes.Buffer
	if code := fakeApp(newFakeKernel(), &out).run(t.Context(), []string{"version", "-o", "json"}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	var got build
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	machine := map[string]string{"amd64": "x86"}[runtime.GOARCH]
	if machine == "" {
		machine = runtime.GOARCH
	}
	want := map[string]string{}
	for name, file := range map[string]string{
		"tracing": "../probe/tracing_bpfel.o", "probing": "../probe/probing_" + machine + "_bpfel.o", "stacks": "../stacks/kernel_" + machine + "_bpfel.o",
	} {
		object, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(object)
		want[name] = hex.EncodeToString(sum[:])
	}
	if diff := cmp.Diff(want, got.Objects); diff != "" {
		t.Error(diff)
	}
}

func TestVersionTellsWhatIsKnown(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	of := func(settings ...debug.BuildSetting) *debug.BuildInfo { return &debug.BuildInfo{Settings: settings} }
	commit, when := setting("vcs.revision", "0123456789abcdef"), setting("vcs.time", "2026-11-25T10:00:00Z")
	for name, test := range map[string]struct {
		info       *debug.BuildInfo
		release    string
		json, text string
	}{
		"nothing": {nil, "", `{"version":"devel"}`, "acceptwatch devel"},
		"a clone": {of(commit, when, setting("vcs.modified", "false")), "",
			`{"version":"devel","commit":"0123456789abcdef","time":"2026-11-25T10:00:00Z","modified":false}`,
			"acceptwatch devel, commit 0123456789ab, 2026-11-25T10:00:00Z"},
		"a changed clone": {of(commit, setting("vcs.modified", "true")), "v1.2",
			`{"version":"v1.2","commit":"0123456789abcdef","modified":true}`, "acceptwatch v1.2, commit 0123456789ab with changes"},
	} {
		b := readBuild(test.release, test.info)
		if text := test.text + ", " + runtime.Version() + " linux/" + runtime.GOARCH; b.String() != text {
			t.Errorf("%s: %s, want %s", name, b, text)
		}
		b.Go, b.Platform = "", ""
		var got, want map[string]any
		if err := json.Unmarshal([]byte(test.json), &want); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "go")
		delete(got, "platform")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
