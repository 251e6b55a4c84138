package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// maxIfindex is the largest interface index: the flow table's key has 24 bits for it.
const maxIfindex = 1<<24 - 1

// View is one reading of the machine.
type View struct {
	Ruleset handover.Ruleset
	Links   []Link
	// Chains is nil where no rules run early.
	Chains *ChainsView

	seq   uint64    // the last change that it has seen
	early earlyPlan // what was made of Chains
}

// Decision is what to do about one device that a flowtable lists.
type Decision struct {
	Name       string   `json:"name"`
	Ifindex    uint32   `json:"ifindex,omitempty"`
	Hook       Hook     `json:"hook"`             // the fastest of its places; off when all of it stays on the slow path
	Reason     Reason   `json:"reason,omitzero"`  // why off, or why not XDP; of several places each has its own
	XDPTarget  bool     `json:"xdp_target"`       // XDP redirects may leave here
	Target     Reason   `json:"target,omitzero"`  // why they may not
	Flowtables []string `json:"flowtables"`       // "inet filter f1"
	Asked      bool     `json:"asked,omitempty"`  // the hook is the user's choice
	Real       bool     `json:"kernel_flowtable"` // a flowtable of the kernel lists it
	// On are the devices where its packets are looked up: itself, or those it stands on.
	On []Place `json:"on,omitempty"`
	// Slow are devices above it whose flows stay on the slow path though those of others are carried.
	Slow []SlowDevice `json:"slow_above,omitempty"`

	labels handover.Labels // of its lowered flowtables
}

// Place is a device where packets are looked up.
type Place struct {
	Name      string `json:"name"`
	Ifindex   uint32 `json:"ifindex"`
	Hook      Hook   `json:"hook"`            // off when packets of the flowtable's device stay slow here
	Reason    Reason `json:"reason,omitzero"` // why off, or why not XDP
	Tags      []Tag  `json:"tags,omitempty"`  // that packets of the flowtable's device carry here, the outermost first
	XDPTarget bool   `json:"xdp_target"`      // XDP redirects may leave here
	Target    Reason `json:"target,omitzero"` // why they may not
	Asked     bool   `json:"asked,omitempty"` // the hook is the user's choice
}

// SlowDevice is a device whose flows stay on the slow path.
type SlowDevice struct {
	Name   string `json:"name"`
	Reason Reason `json:"reason"`
}

// decide says for every device of every flowtable whether and where the fast path runs for it, and what the datapath
// has to be. It is a pure function. refused has the devices on which XDP failed before, by ifindex.
func decide(v View, choices Choices, refused map[uint32]failure) ([]Decision, Desired) {
	p := &plan{
		stack: newStack(v.Links), rules: v.Ruleset, choices: choices, failed: refused,
		listed: map[string]*Decision{}, withheld: map[*Link]Reason{}, hung: map[hung]Reason{}, passable: v.early.passable(),
	}
	p.list()
	for p.resolve(); p.withhold(); {
		p.resolve()
	}
	want := Desired{Mark: v.Mark(), Devices: p.devices()}
	v.early.place(&want, v.Links)
	out := make([]Decision, 0, len(p.listed))
	for _, name := range slices.Sorted(maps.Keys(p.listed)) {
		out = append(out, *p.listed[name])
	}
	return out, want
}

// plan is a decision in the making.
type plan struct {
	stack   *stack
	rules   handover.Ruleset
	choices Choices
	failed  map[uint32]failure

	listed   map[string]*Decision // by name
	spots    map[*Link]*spot
	withheld map[*Link]Reason // devices of which not all ways are free, see withhold
	hung     map[hung]Reason  // by obstacle
	passable map[string]bool  // devices whose chains are executed before packets are looked up
}

// hung is a device in one of two places.
type hung struct {
	link  *Link
	above bool
}

// spot is a device where packets are to be looked up.
type spot struct {
	link      *Link
	free      bool // at least one way of a listed device leads here and meets nothing
	asked     bool // its hook is the user's choice
	choice    Hook
	labels    handover.Labels
	flowtable bool
	ruled     bool   // rules are executed before, at tc
	hook      Hook   // when free
	reason    Reason // why off, or why not XDP
}

// list collects the devices that flowtables list.
func (p *plan) list() {
	for _, f := range p.rules.Flowtables {
		for _, name := range p.named(f.Devices) {
			d := p.listed[name]
			if d == nil {
				d = &Decision{Name: name}
				p.listed[name] = d
			}
			d.Flowtables = append(d.Flowtables, strings.Join([]string{f.Family, f.Table, f.Name}, " "))
			d.labels = d.labels.Union(f.Labels)
			d.Real = d.Real || !f.Lowered
		}
	}
	for name, d := range p.listed {
		l := p.stack.named[name]
		if l != nil {
			d.Ifindex = l.Ifindex
		}
		choice, asked := p.choices[name]
		d.Asked = asked
		switch {
		case choice == Off && asked:
			d.Reason = userOff(name)
		case l == nil:
			d.Reason = Reason{reason.OffNoDevice, fmt.Sprintf("%s does not exist", name), "it is taken up when it appears"}
		case l.Kind == kindVRF:
			d.Reason = Reason{reason.OffVRF, fmt.Sprintf("%s is a VRF, and packets are looked up on its members", name), "list the members in the flowtable"}
		case passes(l) && len(p.stack.ways(l)) == 0:
			d.Reason = Reason{reason.OffNoPort, fmt.Sprintf("the bridge %s has no ports", name), "they are taken up when they appear"}
		}
		if !d.Reason.OK() {
			d.Hook = Off
		}
	}
}

// named puts devices in the place of names that end in an asterisk. One that means no device stays.
func (p *plan) named(listed []string) []string {
	var out []string
	for _, name := range listed {
		if !strings.HasSuffix(name, "*") {
			out = append(out, name)
			continue
		}
		n := len(out)
		for i := range p.stack.links {
			if l := &p.stack.links[i]; handover.Names(name, l.Name) {
				out = append(out, l.Name)
			}
		}
		if len(out) == n {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func userOff(name string) Reason {
	return Reason{Code: reason.OffByUser, Text: fmt.Sprintf("%s is switched off by --device %s=off", name, name)}
}

// active returns the decision about a device that a flowtable lists and that nothing rules out from the start.
func (p *plan) active(l *Link) *Decision {
	if d := p.listed[l.Name]; d != nil && p.choices[l.Name] != Off && l.Kind != kindVRF {
		return d
	}
	return nil
}

// resolve finds the places of all listed devices.
func (p *plan) resolve() {
	p.spots = map[*Link]*spot{}
	ways := map[*Decision][]way{}
	for _, name := range slices.Sorted(maps.Keys(p.listed)) {
		d, l := p.listed[name], p.stack.named[name]
		if l == nil || p.active(l) == nil {
			continue
		}
		ws := slices.Clone(p.stack.ways(l))
		if len(ws) == 0 {
			continue // list has said so
		}
		d.On = nil
		ways[d] = ws
		for i := range ws {
			p.take(d, &ws[i])
		}
	}
	crowded := p.crowded()
	for _, s := range p.spots {
		s.place(p.failed[s.link.Ifindex].reason)
	}
	for d, ws := range ways {
		for _, w := range ws {
			pl := Place{Name: w.at.Name, Ifindex: w.at.Ifindex, Hook: Off, Reason: cmp.Or(w.no, crowded[w.at]), Tags: w.tags}
			if s := p.spots[w.at]; pl.Reason.OK() && s != nil {
				pl.Hook, pl.Reason, pl.Asked = s.hook, s.reason, s.asked
				pl.XDPTarget, pl.Target = s.target()
			}
			d.On = append(d.On, pl)
		}
		d.sum()
	}
}

// take makes the end of a way a spot, unless nothing may be there, and notes on the way what it meets.
func (p *plan) take(d *Decision, w *way) {
	if !w.no.OK() {
		return
	}
	w.no = p.met(*w)
	if !w.no.OK() && !bypass(w.no) {
		return
	}
	s := p.spots[w.at]
	if s == nil {
		s = &spot{link: w.at, choice: p.choices[w.at.Name], ruled: p.passable[w.at.Name]}
		p.spots[w.at] = s
	}
	s.free = s.free || w.no.OK()
	s.labels = s.labels.Union(d.labels)
	s.flowtable = s.flowtable || d.Real
	// A choice for the device itself comes first, then the slower one of those for devices above.
	if c := p.choices[d.Name]; p.choices[w.at.Name] == "" && c != "" && s.choice != TC {
		s.choice = c
	}
	s.asked = s.choice != ""
}

// met is the first thing on a way that fast packets would not pass, from its end upward, or the user's word.
func (p *plan) met(w way) Reason {
	for l := range w.devices() {
		if r := p.obstacle(l, l != w.at); !r.OK() {
			return r
		}
	}
	return Reason{}
}

// obstacle is what of met is about one device: looked up on, or above such a one.
func (p *plan) obstacle(l *Link, above bool) Reason {
	key := hung{l, above}
	r, known := p.hung[key]
	if !known {
		switch {
		case p.choices[l.Name] == Off:
			r = userOff(l.Name)
		case above:
			r = hookedAbove(l, p.rules)
		default:
			r = hooked(l, p.rules, p.passable[l.Name])
		}
		p.hung[key] = r
	}
	return cmp.Or(r, p.withheld[l])
}

// crowded takes away the spots on devices that may be used only where nothing below them is.
func (p *plan) crowded() map[*Link]Reason {
	out := map[*Link]Reason{}
	for l := range p.spots {
		if !exclusive(l) {
			continue
		}
		for _, b := range reach([]*Link{l}, p.stack.below) {
			if p.spots[b] != nil {
				out[l] = Reason{reason.OffStacked, fmt.Sprintf("%s stands on %s, which is used itself", l.Name, b.Name), "list one of them in the flowtable"}
				break
			}
		}
	}
	for l := range out {
		delete(p.spots, l)
	}
	return out
}

// place returns the place on a device; nil when there is none.
func (d *Decision) place(name string) *Place {
	for i := range d.On {
		if d.On[i].Name == name {
			return &d.On[i]
		}
	}
	return nil
}

// leave takes the decision off a device.
func (d *Decision) leave(name string, why Reason) {
	for i := range d.On {
		if d.On[i].Name == name && d.On[i].Hook != Off {
			d.On[i].Hook, d.On[i].Reason = Off, why
		}
	}
	d.sum()
}

// sum makes the decision out of its places.
func (d *Decision) sum() {
	d.Hook, d.Reason, d.XDPTarget, d.Target = Off, Reason{}, true, Reason{}
	for _, p := range d.On {
		if p.Hook == Off {
			continue
		}
		if d.Hook != XDP {
			d.Hook = p.Hook
		}
		d.XDPTarget = d.XDPTarget && p.XDPTarget
		d.Target = cmp.Or(d.Target, p.Target)
	}
	d.XDPTarget = d.XDPTarget && d.Hook != Off
	if len(d.On) == 1 || d.Hook == Off {
		for _, p := range d.On {
			d.Reason = cmp.Or(d.Reason, p.Reason)
		}
	}
}

// devices is what the decisions ask of the datapath, lowest ifindex first.
func (p *plan) devices() []Device {
	ids := p.stack.ids()
	out := p.aboves(ids)
	for l, s := range p.spots {
		if s.free && s.hook == Off {
			continue
		}
		d := Device{
			Ifindex: l.Ifindex, Name: l.Name, Hook: s.hook, Labels: s.labels, Flowtable: s.flowtable,
			Bare: !l.Ethernet, Under: p.active(l) == nil, Stack: ids[l.Name], Floods: p.floods(l),
		}
		if s.free {
			d.XDPTarget, _ = s.target()
			// Frames that a program made and not a wire may leave their checksum to a device that XDP goes round.
			d.PartialChecksums = !l.Physical || l.Driver == "virtio_net"
		} else {
			d.Hook, d.Refused = TC, true
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Device) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return out
}

// Mark is the conntrack mark bit that the ruleset was lowered with; 0 for labels.
func (v View) Mark() uint32 {
	for _, f := range v.Ruleset.Flowtables {
		if f.Mark != 0 {
			return f.Mark
		}
	}
	return 0
}

// check finds choices that cannot be honored: the user has to know before anything changes.
func check(v View, choices Choices, ds []Decision) error {
	links := map[string]bool{}
	for _, l := range v.Links {
		links[l.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(choices)) {
		if !links[name] {
			return &DeviceError{name, Reason{reason.OffNoDevice, fmt.Sprintf("--device %s=%s: there is no device %s", name, choices[name], name), "see `ip link`"}}
		}
	}
	return honored(choices, ds)
}

// honored finds a choice that the decisions do not follow.
func honored(choices Choices, ds []Decision) error {
	for _, d := range ds {
		c := choices[d.Name]
		if c != "" && c != Off && d.Hook == Off {
			return refusedChoice(d.Name, c, d.Reason)
		}
		for _, p := range d.On {
			if own := choices[p.Name]; own != "" && own != Off && p.Hook == Off {
				return refusedChoice(p.Name, own, p.Reason)
			}
			if c == XDP && p.Hook == Off {
				return refusedChoice(d.Name, c, p.Reason)
			}
		}
	}
	return nil
}

func refusedChoice(name string, hook Hook, r Reason) error {
	r.Text = fmt.Sprintf("--device %s=%s: %s", name, hook, r.Text)
	return &DeviceError{name, r}
}

// DeviceError says that a device the user named cannot be used as asked.
type DeviceError struct {
	Device string
	Reason Reason
}

// Error renders the reason.
func (e *DeviceError) Error() string { return e.Reason.Error() }
