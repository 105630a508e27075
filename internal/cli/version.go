package cli

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"acceptwatch/internal/metrics"
	"acceptwatch/internal/probe"
	"acceptwatch/internal/stacks"
)

// version is set by a release build: -ldflags "-X acceptwatch/internal/cli.version=v1.2.3".
var version string

const versionHelp = `Prints the version of this program and what it was built from: the commit, its
time, whether files were changed since, the release of Go and the platform. What
is not known is left out. -o json also has the SHA-256 sums of its eBPF programs,
which are those of the object files in the source.`

// build is what this program was built from. What is not known is left out.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified *bool  `json:"modified,omitempty"` // since the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`

	// Objects are the SHA-256 sums of the files of eBPF programs in it.
	Objects map[string]string `json:"ebpf_objects,omitempty"`
}

func newVersionCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long:  versionHelp,
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			asJSON, err := parseOutput(output)
			if err != nil {
				return err
			}
			b := currentBuild()
			if asJSON {
				b.Objects = objectSums()
				return json.NewEncoder(a.Out).Encode(b)
			}
			_, err = fmt.Fprintln(a.Out, b)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output `format`: text or json")
	return cmd
}

func currentBuild() build {
	info, _ := debug.ReadBuildInfo()
	return readBuild(version, info)
}

// toolVersion is the version in one word.
func toolVersion() string {
	b := currentBuild()
	if b.Commit != "" {
		return b.Version + "+" + b.Commit[:min(len(b.Commit), 12)]
	}
	return b.Version
}

// metricsBuild is the same for metrics.
func metricsBuild() metrics.Build {
	info, _ := debug.ReadBuildInfo()
	b := readBuild(version, info)
	return metrics.Build{Version: b.Version, Revision: b.Commit, Go: b.Go}
}

// readBuild prefers the version of a release to that of the module. info may
// be nil.
func readBuild(release string, info *debug.BuildInfo) build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info != nil {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			b.Version = v
		}
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				b.Commit = setting.Value
			case "vcs.time":
				b.Time = setting.Value
			case "vcs.modified":
				modified := setting.Value == "true"
				b.Modified = &modified
			}
		}
	}
	if release != "" {
		b.Version = release
	}
	return b
}

func objectSums() map[string]string {
	sums := map[string]string{}
	for _, objects := range []map[string][]byte{probe.Objects(), stacks.Objects()} {
		for name, object := range objects {
			sums[name] = fmt.Sprintf("%x", sha256.Sum256(object))
		}
	}
	return sums
}

func (b build) String() string {
	text := "acceptwatch " + b.Version
	if b.Commit != "" {
		text += ", commit " + b.Commit[:min(len(b.Commit), 12)]
		if b.Modified != nil && *b.Modified {
			text += " with changes"
		}
	}
	if b.Time != "" {
		text += ", " + b.Time
	}
	return text + ", " + b.Go + " " + b.Platform
}
