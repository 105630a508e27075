package debian

import (
	"cmp"
	"io"
	"slices"
	"strings"
)

// Package is one record of a package index.
type Package struct {
	Name, Version, Depends string
}

// ParsePackages reads the records of a package index, or what apt-cache show
// prints.
func ParsePackages(r io.Reader) ([]Package, error) {
	var packages []Package
	err := stanzas(r, func(f map[string]string) {
		if f["package"] != "" && f["version"] != "" {
			packages = append(packages, Package{f["package"], f["version"], f["depends"]})
		}
	})
	return packages, err
}

// Candidate is one kernel that the archive offers: the packages that together
// hold its image and its modules.
type Candidate struct {
	Version  string // of all its packages
	Packages []string
	Signed   bool
}

const unsigned = "-unsigned"

// Candidates lists the kernels of a series, newest first. The series is the
// start of the version, as "6.12" or "7"; the flavour is the end of the package
// names, as "cloud-amd64". Of one version the signed kernel comes first: a
// locked-down kernel loads only signed modules.
//
// Up to 6.x image and modules are in linux-image; from 7.0 on linux-image only
// depends on linux-binary, with the image, linux-modules and linux-base, with
// the list of what is built in.
func Candidates(packages []Package, series, flavour string) []Candidate {
	type key struct{ name, version string }
	known := map[key]Package{}
	for _, p := range packages {
		known[key{p.Name, p.Version}] = p
	}
	var found []Candidate
	for k, p := range known {
		name, isUnsigned := strings.CutSuffix(k.name, unsigned)
		release, ok := strings.CutSuffix(name, "-"+flavour)
		if !ok {
			continue
		}
		c := Candidate{Version: p.Version, Packages: []string{p.Name}, Signed: !isUnsigned}
		if image, ok := strings.CutPrefix(release, "linux-image-"); ok {
			if !strings.HasPrefix(image, series+".") || strings.Contains(p.Depends, "linux-binary-") || isMeta(p) {
				continue
			}
		} else if binary, ok := strings.CutPrefix(release, "linux-binary-"); ok {
			if !strings.HasPrefix(binary, series+".") {
				continue
			}
			complete := true
			for _, part := range []string{"linux-modules-", "linux-base-"} {
				part += binary + "-" + flavour
				_, ok := known[key{part, p.Version}]
				complete = complete && ok
				c.Packages = append(c.Packages, part)
			}
			if !complete {
				continue
			}
		} else {
			continue
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b Candidate) int {
		return cmp.Or(
			-CompareVersions(a.Version, b.Version),
			compareBool(b.Signed, a.Signed),
			slices.Compare(a.Packages, b.Packages),
		)
	})
	return found
}

// isMeta tells linux-image-6.12-cloud-amd64, which only depends on the newest
// kernel.
func isMeta(p Package) bool { return strings.Contains(p.Depends, "linux-image-") }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
