package symbol

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ianlancetaylor/demangle"
)

const (
	// longestSymbol is how much of a name is read, longestName how much of it
	// is shown, in bytes. C++ names of several KiB exist.
	longestSymbol = 4 << 10
	longestName   = 512
)

// readable turns a symbol of an ELF file into what people call the function.
func readable(symbol string) string {
	// Symbols of shared libraries can carry a version; Go marks assembly.
	name, _, _ := strings.Cut(symbol, "@")
	name = strings.TrimSuffix(name, ".abi0")
	if len(symbol) < longestSymbol {
		name = demangle.Filter(name, demangle.MaxLength(12)) // 2^12 bytes
	}
	return clean(name)
}

// clean keeps a name of another's making to one line of bounded length.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	if len(name) <= longestName {
		return name
	}
	cut := longestName
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "..."
}
