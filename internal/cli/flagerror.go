package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError turns pflag's errors into sentences: what is wrong, and what to do.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	lists := fmt.Sprintf("`%s --help` lists them", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usageErrorf("there is no flag -%s of %s: %s", unknown.GetSpecifiedName(), cmd.Name(), lists)
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		hint := ""
		if near := nearestFlag(cmd.Flags(), name); near != "" {
			hint = "did you mean --" + near + "? "
		}
		return usageErrorf("there is no flag --%s of %s: %s%s", name, cmd.Name(), hint, lists)
	case errors.As(err, &missing):
		flag := missing.GetFlag()
		value, usage := pflag.UnquoteUsage(flag)
		return usageErrorf("--%s needs a value, --%s %s: %s", flag.Name, flag.Name, strings.ToUpper(value), usage)
	case errors.As(err, &invalid):
		flag := invalid.GetFlag()
		_, usage := pflag.UnquoteUsage(flag)
		return usageErrorf("--%s does not take %q, which is no %s: %s", flag.Name, invalid.GetValue(), typeWord(flag), usage)
	}
	return usageErrorf("%w: %s", err, lists)
}

// emptyValue is the error of a flag that was given an empty text. None takes that:
// what a user wants to leave out is not given, and a variable that is not set must
// not widen what is watched.
func emptyValue(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(flag *pflag.Flag) {
		if what := empty(flag.Value); err == nil && what != "" {
			_, usage := pflag.UnquoteUsage(flag)
			err = usageErrorf("--%s %s, as if a variable were not set: %s", flag.Name, what, usage)
		}
	})
	return err
}

// empty says what of a value is; "": nothing.
func empty(value pflag.Value) string {
	texts := []string{value.String()}
	if list, ok := value.(pflag.SliceValue); ok {
		texts = list.GetSlice()
	}
	switch {
	case len(texts) > 1 && slices.Contains(texts, ""):
		return "has an empty item"
	case len(texts) == 0 || texts[0] == "":
		return "is empty"
	}
	return ""
}

func typeWord(flag *pflag.Flag) string {
	switch flag.Value.Type() {
	case "duration":
		return "time such as 500ms, 2s or 1m"
	case "int", "intSlice", "uint32":
		return "whole number"
	case "bool":
		return "true or false"
	}
	return flag.Value.Type()
}

// nearestFlag is the flag whose name is at most two edits from what was typed,
// or begins with it; empty: none.
func nearestFlag(flags *pflag.FlagSet, typed string) string {
	best, distance := "", 3
	flags.VisitAll(func(flag *pflag.Flag) {
		d := edits(flag.Name, typed)
		if len(typed) > 1 && strings.HasPrefix(flag.Name, typed) {
			d = 1
		}
		if d < distance && d < len(typed) {
			best, distance = flag.Name, d
		}
	})
	return best
}

// edits is the Levenshtein distance, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
