package debian

import (
	"reflect"
	"strings"
	"testing"
)

const index = `Package: linux-image-6.12.107+deb12-cloud-amd64-unsigned
Source: linux-6.12
Version: 6.12.107-1~deb12u1
Depends: kmod, initramfs-tools (>= 0.120+deb8u2)
Description: Linux 6.12
 A paragraph that continues,
 .
 and has Version: 9 in it.

Package: linux-image-6.12.117+deb13-cloud-amd64-unsigned
Version: 6.12.117-1
Depends: kmod

Package: linux-image-6.12.117+deb13-cloud-amd64
Version: 6.12.117-1
Depends: kmod

Package: linux-image-6.12-cloud-amd64
Version: 6.12.117-1
Depends: linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1)

Package: linux-image-6.12.117+deb13-rt-amd64
Version: 6.12.118-1

Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-2

Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-binary-7.3.4+deb13-cloud-amd64

Package: linux-binary-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1

Package: linux-modules-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1

Package: linux-base-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1

Package: linux-binary-7.4.1+deb13-cloud-amd64
Version: 7.4.1-1~bpo13+1
`

func TestNewestKernelsOfASeriesComeFirst(t *testing.T) {
	packages, err := ParsePackages(strings.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		series string
		want   []Candidate
	}{
		{"6.12", []Candidate{
			{"6.12.117-1", []string{"linux-image-6.12.117+deb13-cloud-amd64"}, true},
			{"6.12.117-1", []string{"linux-image-6.12.117+deb13-cloud-amd64-unsigned"}, false},
			{"6.12.107-1~deb12u1", []string{"linux-image-6.12.107+deb12-cloud-amd64-unsigned"}, false},
		}},
		{"6.1", []Candidate{{"6.1.192-2", []string{"linux-image-6.1.0-56-cloud-amd64"}, true}}},
		// 7.4.1 has an image but no modules.
		{"7", []Candidate{{"7.3.4-1~bpo13+1", []string{
			"linux-binary-7.3.4+deb13-cloud-amd64",
			"linux-modules-7.3.4+deb13-cloud-amd64",
			"linux-base-7.3.4+deb13-cloud-amd64",
		}, true}}},
		{"8", nil},
	}
	for _, test := range tests {
		if got := Candidates(packages, test.series, "cloud-amd64"); !reflect.DeepEqual(got, test.want) {
			t.Errorf("series %s:\n got %v\nwant %v", test.series, got, test.want)
		}
	}
}

func TestArchiveIsReadFromSources(t *testing.T) {
	const list = `# comment
deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] http://vendor.invalid/repo nodistro main
deb-src http://a.invalid/debian bookworm main
deb http://a.invalid/debian/ bookworm main contrib # ours
deb http://a.invalid/debian-security bookworm-security main
`
	const stanza = `Types: deb deb-src
URIs: http://b.invalid/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://b.invalid/disabled-security
Suites: trixie-security
Components: main
`
	fromList, err := parseList(strings.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	fromStanza, err := parseDeb822(strings.NewReader(stanza))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		sources []source
		want    Archive
	}{
		{"one-line", fromList, Archive{"http://a.invalid/debian/", "http://a.invalid/debian-security"}},
		{"deb822, without security", fromStanza, Archive{"http://b.invalid/debian", "http://b.invalid/debian-security"}},
	}
	for _, test := range tests {
		got, err := chooseArchive(test.sources)
		if err != nil || got != test.want {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
	if _, err := chooseArchive(fromList[:1]); err == nil {
		t.Error("another vendor's archive was taken for Debian's")
	}
}
