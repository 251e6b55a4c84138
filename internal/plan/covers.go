package plan

import (
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/space"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// covers says in a few words what the packets of a space have in common.
func covers(s space.Space) []string {
	var out []string
	all := s.Constraints()
	var l3 space.Set
	for _, c := range all {
		if c.Field.Name == "meta protocol" {
			l3 = c.In
		}
	}
	for _, c := range all {
		if isProtocol(c.Field, l3) {
			c.Field = space.Field{Name: "meta l4proto", Len: c.Field.Len}
		}
		if w := coversField(c); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// isProtocol reports whether a field is the protocol of the only network layer there is: `ip protocol`, `ip6 nexthdr`.
func isProtocol(f space.Field, l3 space.Set) bool {
	if len(l3) != 1 || l3[0].First != l3[0].Last {
		return false
	}
	switch l3[0].First {
	case space.Number(etherIPv4):
		return f == space.Field{Base: space.Network, Off: 72, Len: 8}
	case space.Number(etherIPv6):
		return f == space.Field{Base: space.Network, Off: 48, Len: 8}
	}
	return false
}

func coversField(c space.Constraint) string {
	names := func(datatype string) string {
		var words []string
		for _, iv := range c.In {
			for v := iv.First; ; v = space.Number(v.Lo + 1) {
				n, ok := ruleset.SymbolName(datatype, v.Lo)
				if !ok || len(words) > mostNamed {
					return ""
				}
				words = append(words, n)
				if v.Compare(iv.Last) >= 0 {
					break
				}
			}
		}
		return strings.Join(words, ", ")
	}
	switch c.Field.Name {
	case "meta protocol":
		if w := names("ether_type"); w != "" && len(c.In) == 1 {
			return w
		}
		return ""
	case "meta l4proto":
		return names("inet_proto")
	case "ct state", "ct status":
		if w := names(strings.Replace(c.Field.Name, " ", "_", 1)); w != "" {
			return c.Field.Name + " " + w
		}
	case "meta iifname", "meta iif":
		return "in by " + devices(c)
	case "meta oifname", "meta oif":
		return "out by " + devices(c)
	}
	if len(c.In) > mostNamed {
		return fmt.Sprintf("%d intervals of %s", len(c.In), fieldName(c.Field, protocol{l3: etherIPv4, l4: 6}))
	}
	return "some " + fieldWords(c.Field)
}

// mostNamed bounds the values that are written out.
const mostNamed = 6

func devices(c space.Constraint) string {
	if len(c.In) > mostNamed {
		return "some devices"
	}
	var words []string
	for _, iv := range c.In {
		name := strings.TrimRight(string(iv.First.Bytes(16)), "\x00")
		if iv.First != iv.Last {
			name += "*"
		}
		words = append(words, name)
	}
	return strings.Join(words, ", ")
}

// fieldWords names a field for people.
func fieldWords(f space.Field) string {
	switch f {
	case space.Field{Base: space.Transport, Off: 0, Len: 16}:
		return "source ports"
	case space.Field{Base: space.Transport, Off: 16, Len: 16}:
		return "destination ports"
	case space.Field{Base: space.Network, Off: 96, Len: 32}, space.Field{Base: space.Network, Off: 64, Len: 128}:
		return "source addresses"
	case space.Field{Base: space.Network, Off: 128, Len: 32}, space.Field{Base: space.Network, Off: 192, Len: 128}:
		return "destination addresses"
	}
	return f.String()
}
