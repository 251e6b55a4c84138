package plan

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// means reports whether a device of a listing is this one: by its name, or since Linux 6.16 by how its name begins.
func means(listed, device string) bool {
	if prefix, ok := strings.CutSuffix(listed, "*"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return listed == device
}

// wildcards are the names with an asterisk of ingress chains. The chains of a device are found by its name, so one that
// such a name means has chains that are not found.
func wildcards(rs *ruleset.Ruleset) []string {
	var out []string
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if !early(t, c) {
				continue
			}
			for _, d := range c.Base.Devices {
				if strings.HasSuffix(d, "*") && !slices.Contains(out, d) {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

// wildcard is why a device with chains that are not found has no rules early.
func (as *abilities) wildcard(device string) Finding {
	i := slices.IndexFunc(as.wildcards, func(name string) bool { return means(name, device) })
	if i < 0 {
		return Finding{}
	}
	return Finding{Reason: reason.DeviceWildcard, Detail: as.wildcards[i]}
}
