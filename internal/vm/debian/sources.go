package debian

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
)

// Archive is where Debian's packages come from, as this machine's own apt
// configuration has it.
type Archive struct {
	Main     string // URI of the main archive
	Security string // URI of the security archive
}

// errNoArchive says what to do about a machine without Debian's archive.
var errNoArchive = errors.New("apt's sources name no Debian archive: " +
	"add one with the component main, e.g. to /etc/apt/sources.list")

// source is one URI and suite of a sources file.
type source struct {
	uri, suite string
	components []string
}

// releases are the names under which Debian's archive is known: they tell it
// from the archives of others.
var releases = []string{
	"bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

// chooseArchive picks Debian's own archives. Without a security archive, the
// main one with -security appended to its path stands in: that is where mirrors
// have it.
func chooseArchive(sources []source) (Archive, error) {
	var a Archive
	for _, s := range sources {
		if !slices.Contains(s.components, "main") {
			continue
		}
		suite, _, _ := strings.Cut(s.suite, "/") // bullseye/updates of old
		release, rest, _ := strings.Cut(suite, "-")
		if !slices.Contains(releases, release) {
			continue
		}
		switch {
		case rest == "security":
			a.Security = first(a.Security, s.uri)
		case rest == "" || rest == "updates" || rest == "backports":
			a.Main = first(a.Main, s.uri)
		}
	}
	if a.Main == "" {
		return Archive{}, errNoArchive
	}
	a.Security = first(a.Security, strings.TrimRight(a.Main, "/")+"-security")
	return a, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// parseList reads the one-line format of sources.list(5).
func parseList(r io.Reader) ([]source, error) {
	var sources []source
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "deb" {
			continue
		}
		fields = fields[1:]
		if strings.HasPrefix(fields[0], "[") {
			end := slices.IndexFunc(fields, func(f string) bool { return strings.HasSuffix(f, "]") })
			if end < 0 {
				continue
			}
			fields = fields[end+1:]
		}
		if len(fields) >= 3 {
			sources = append(sources, source{fields[0], fields[1], fields[2:]})
		}
	}
	return sources, lines.Err()
}

// parseDeb822 reads the stanza format of sources.list(5).
func parseDeb822(r io.Reader) ([]source, error) {
	var sources []source
	err := stanzas(r, func(fields map[string]string) {
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
			return
		}
		for _, uri := range strings.Fields(fields["uris"]) {
			for _, suite := range strings.Fields(fields["suites"]) {
				sources = append(sources, source{uri, suite, strings.Fields(fields["components"])})
			}
		}
	})
	return sources, err
}

// stanzas calls fn with the fields of each paragraph, their names in lower
// case.
func stanzas(r io.Reader, fn func(map[string]string)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	fields := map[string]string{}
	var last string
	flush := func() {
		if len(fields) > 0 {
			fn(fields)
		}
		fields, last = map[string]string{}, ""
	}
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(name)
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return lines.Err()
}
