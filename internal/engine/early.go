package engine

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// RuleID names a rule for as long as it exists: the handle of its table tells tables of one name apart.
type RuleID struct {
	Family      string `json:"family"`
	Table       string `json:"table"`
	TableHandle int    `json:"table_handle"`
	Chain       string `json:"chain"`
	Handle      int    `json:"handle"` // 0: the chain's policy
}

// Early is the rules of a device that a program executes before the kernel does.
type Early struct {
	Share *share.Share
	// Tables are the handles of the tables that the rules are of.
	Tables map[TableID]int
	// Ifindex are the devices that the rules name.
	Ifindex map[string]uint32
	// Bare says that packets have no Ethernet header.
	Bare bool
}

// TableID names a table.
type TableID struct{ Family, Name string }

// Rule names the rule that something in the share was made of.
func (e *Early) Rule(r share.Ref) RuleID {
	return RuleID{
		Family: string(r.Family), Table: r.Table, TableHandle: e.Tables[TableID{string(r.Family), r.Table}], Chain: r.Chain, Handle: r.Handle,
	}
}

// Sets are the named sets that the program looks into.
func (e *Early) Sets() []element.SetID {
	var out []element.SetID
	for _, s := range e.Share.Sets {
		out = append(out, element.SetID{Family: s.Family, Table: s.Table, Name: s.Name})
	}
	return out
}

// programs names the programs of devices: one that is the same as before keeps its key, any other gets a new one.
type programs struct {
	made int
	last map[string]*named // by device
}

// named is a program that has a key.
type named struct {
	key   string
	early *Early
}

func newPrograms() *programs { return &programs{last: map[string]*named{}} }

func (p *programs) key(device string, e *Early) string {
	if n := p.last[device]; n != nil && reflect.DeepEqual(n.early, e) {
		return n.key
	}
	p.made++
	n := &named{key: fmt.Sprintf("%s %d", device, p.made), early: e}
	p.last[device] = n
	return n.key
}

// bypassable reports whether packets that the program lets through may be carried past the chains: they have met every
// rule, and none of these has anything to note of a packet that goes on.
func (e *Early) bypassable() bool {
	return e.Share.Whole && e.Share.Hook == share.TC && !slices.ContainsFunc(e.Share.Entries, func(n share.Entry) bool {
		return (n.Counter || n.Copy != "") && n.Ending != share.Drops && n.Ending != share.Forwards
	})
}

// refusedRules is why a program of rules is not used.
type refusedRules struct {
	reason Reason
	said   string
	// again says that trying again later may help; else only other rules do.
	again bool
	// misfits are the sets with elements that the program cannot have: other elements help too.
	misfits []element.SetID
}

// place puts the programs of rules on the devices that are wanted, and adds those where nothing else runs.
func (p earlyPlan) place(want *Desired, links []Link) {
	want.Early, want.Exist = p.early, p.exist
	for _, r := range p.devices {
		if r.Hook == Off {
			continue
		}
		i := slices.IndexFunc(want.Devices, func(d Device) bool { return d.Ifindex == r.Ifindex })
		if i < 0 {
			i = len(want.Devices)
			d := Device{Ifindex: r.Ifindex, Name: r.Name, Hook: TC, Unlisted: true}
			for _, l := range links {
				if l.Ifindex == r.Ifindex {
					d.Bare = !l.Ethernet
				}
			}
			want.Devices = append(want.Devices, d)
		}
		want.Devices[i].Early, want.Devices[i].EarlyHook = r.key, r.Hook
	}
	slices.SortFunc(want.Devices, func(a, b Device) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
}

// passable has the devices whose chains are executed early as a whole, so that packets may be carried past them.
func (p earlyPlan) passable() map[string]bool {
	out := map[string]bool{}
	for _, r := range p.devices {
		if e := p.early[r.key]; r.Hook != Off && e != nil && e.bypassable() {
			out[r.Name] = true
		}
	}
	return out
}

// sets are the named sets that any of the programs looks into, and the shape of each.
func (d Desired) sets() map[element.SetID]string {
	out := map[element.SetID]string{}
	for _, dev := range d.Devices {
		e := d.Early[dev.Early]
		if e == nil {
			continue
		}
		for i, id := range e.Sets() {
			s := e.Share.Sets[i]
			out[id] = fmt.Sprintf("%d %v %v %v %d", e.Tables[TableID{string(s.Family), s.Table}], s.Parts, s.Ranges, s.Verdicts, s.Size)
		}
	}
	return out
}

// sameEarly reports whether the same programs of rules run on the same devices.
func (d Desired) sameEarly(o Desired) bool {
	return maps.Equal(d.earlyKeys(), o.earlyKeys())
}

func (d Desired) earlyKeys() map[string]string {
	out := map[string]string{}
	for _, dev := range d.Devices {
		if dev.Early != "" {
			out[dev.Name] = dev.Early
		}
	}
	return out
}
