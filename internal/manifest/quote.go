package manifest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

var (
	plainInUnit = regexp.MustCompile(`^[A-Za-z0-9_./:=,@+\[\]-]+$`)
	plainInYAML = regexp.MustCompile(`^(--)?[A-Za-z][A-Za-z0-9_./:=,@+-]*[A-Za-z0-9]$`)
)

// quoteUnit writes an argument of a command line in a unit, where % and $ stand
// for something (systemd.service(5), systemd.unit(5)).
func quoteUnit(s string) string {
	s = strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
	if plainInUnit.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// quoteYAML writes a string as a scalar that no version of YAML takes for
// anything else.
func quoteYAML(s string) (string, error) {
	words := []string{"true", "false", "null", "yes", "no", "on", "off"}
	if plainInYAML.MatchString(s) && !slices.Contains(words, strings.ToLower(s)) {
		return s, nil
	}
	text, err := json.Marshal(s)
	return string(text), err
}
