package lint

import (
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// deviceNames numbers devices: those of flowtables first, then those that rules match on, as far as there are numbers.
// The last number stands for all others.
type deviceNames struct {
	names []string
	index map[string]int
}

func numberDevices(rs *ruleset.Ruleset) deviceNames {
	d := deviceNames{index: map[string]int{}}
	for _, t := range rs.Tables {
		for _, f := range t.Flowtables {
			for _, name := range f.Devices {
				d.add(name)
			}
		}
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				d.addRule(r)
			}
		}
	}
	return d
}

func (d *deviceNames) add(name string) {
	if _, known := d.index[name]; known || len(d.names) == maxDevices-1 || name == "" || isWildcard(name) {
		return
	}
	d.index[name] = len(d.names)
	d.names = append(d.names, name)
}

func (d *deviceNames) addRule(r *ruleset.Rule) {
	for _, s := range r.Stmts {
		var key, values ruleset.Expr
		switch s := s.(type) {
		case ruleset.Match:
			key, values = s.Left, s.Right
		case ruleset.VMap:
			key, values = s.Key, s.Data
		default:
			continue
		}
		if m, ok := key.(ruleset.Meta); !ok || !isDeviceKey(m.Key) {
			continue
		}
		for _, v := range literals(values) {
			if name, ok := plain(v).(ruleset.Str); ok {
				d.add(string(name))
			}
		}
	}
}

// space is how many numbers are in use.
func (d deviceNames) space() space { return space(len(d.names) + 1) }

// others is the number of all devices that have none of their own.
func (d deviceNames) others() int { return len(d.names) }

// matching returns which numbers a name may match, and which it does match for certain.
func (d deviceNames) matching(name string) (may, must devset) {
	if i, ok := d.index[name]; ok {
		return 1 << i, 1 << i
	}
	may = 1 << d.others()
	prefix, wild := strings.CutSuffix(name, "*")
	if !wild || strings.HasSuffix(prefix, `\`) {
		return may, 0
	}
	for i, n := range d.names {
		if strings.HasPrefix(n, prefix) {
			may, must = may|1<<i, must|1<<i
		}
	}
	return may, must
}

func isWildcard(name string) bool { return strings.HasSuffix(name, "*") }

func isDeviceKey(key string) bool {
	return slices.Contains([]string{"iif", "iifname", "oif", "oifname"}, key)
}
