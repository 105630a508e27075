package filter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParsePorts reads ports as people write them: "8000", "80,443" or
// "8000-8010,9000". The result is sorted, and ranges that touch are one. The
// error says what is wrong, and with which part.
func ParsePorts(lists ...string) ([]PortRange, error) {
	var ranges []PortRange
	for _, list := range lists {
		for part := range strings.SplitSeq(list, ",") {
			r, err := parseRange(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			ranges = append(ranges, r)
		}
	}
	return merge(ranges), nil
}

func parseRange(text string) (PortRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err := parsePort(first)
	if err != nil {
		return PortRange{}, fmt.Errorf("parse port %q: %w", text, err)
	}
	to, err := parsePort(last)
	if err != nil {
		return PortRange{}, fmt.Errorf("parse port %q: %w", text, err)
	}
	if from > to {
		return PortRange{}, fmt.Errorf("parse port %q: the range ends before it begins, write %d-%d", text, to, from)
	}
	return PortRange{from, to}, nil
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	switch {
	case text == "":
		return 0, errors.New("a number is missing, write 8000 or 8000-8010")
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("ports end at 65535")
	case err != nil:
		return 0, errors.New("not a number from 1 to 65535, nor a range such as 8000-8010")
	case port == 0:
		return 0, errors.New("nothing can listen on port 0, ports begin at 1")
	}
	return uint16(port), nil
}

func merge(ranges []PortRange) []PortRange {
	slices.SortFunc(ranges, func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && uint32(r.First) <= uint32(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// ParseAddr reads an address, or a prefix such as 10.0.0.0/8. IPv4 written as
// ::ffff:10.0.0.1 is IPv4. The host bits of a prefix are dropped.
func ParseAddr(text string) (netip.Prefix, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("parse address %q: zones are not supported, leave %q out", text, "%"+addr.Zone())
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(bare)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parse address %q: neither an address such as 127.0.0.1 or ::1 nor a prefix such as 10.0.0.0/8", text)
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("parse address %q: a prefix of mapped IPv4 has 96 bits or more", text)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// Check refuses a filter that can never select anything.
func (f *Filter) Check() error {
	if f.Addr.IsValid() {
		if is4 := f.Addr.Addr().Is4(); (is4 && f.Family == IPv6) || (!is4 && f.Family == IPv4) {
			return fmt.Errorf("nothing can match: %s is not an %s address, leave one of the two out", f.Addr, f.Family)
		}
	}
	return nil
}
