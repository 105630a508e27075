package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"acceptwatch/internal/capability"
	"acceptwatch/internal/sockdiag"
	"acceptwatch/internal/ui"
)

// notListening says what the filter asks for and is not there yet, "nothing listens
// on port 8000"; or that it was not seen, and may be there all the same, and what to
// do to be sure. An empty text: it is there, or nobody could look.
func (g *gatherer) notListening(ctx context.Context) (text, remedy string) {
	if len(g.filter.Ports) == 0 && !g.filter.ByHolder() {
		return "", ""
	}
	sockets, err := g.host.listening(ctx, g.filter)
	if err != nil && len(sockets) == 0 {
		return "", ""
	}
	sockets = slices.DeleteFunc(sockets, func(s hostSocket) bool {
		return !g.filter.MatchListener(s.NetNS, s.LocalUnmapped(), s.V6Only == sockdiag.V6OnlyYes)
	})
	var absent []string
	for _, r := range g.filter.Ports {
		if !slices.ContainsFunc(sockets, func(s hostSocket) bool {
			return r.First <= s.Local.Port() && s.Local.Port() <= r.Last
		}) {
			absent = append(absent, r.String())
		}
	}
	if len(absent) > 0 {
		return "nothing listens on port " + strings.Join(absent, ", "), ""
	}
	if !g.filter.ByHolder() {
		return "", ""
	}
	if held, err := g.heldBy(ctx); err != nil || len(held) > 0 {
		return "", ""
	}
	if n := g.report.Denied + g.report.Failed; n > 0 {
		remedy := "run it as root, or as the user of the server"
		if g.report.EvenRoot {
			remedy = capability.EvenRoot
		}
		return fmt.Sprintf("no listener of %s could be seen, as %s could not be inspected", g.filter.Holders(), ui.Plural(n, "process")), remedy
	}
	where := "any port"
	if len(g.filter.Ports) > 0 {
		where = "port " + g.filter.PortList()
	}
	return "nothing listens on " + where + " by " + g.filter.Holders(), ""
}
