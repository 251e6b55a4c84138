package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Device is what was found on a device.
type Device struct {
	Name     string
	Attached []string // hooks where our programs are
	// Entries and Refused are the flows through it at both looks.
	Before, After Snapshot
}

// ExplainDevice says whether the fast path runs for a device, and why not.
func (m Machine) ExplainDevice(d Device) Answer {
	v := m.judgeDevice(d)
	a := Answer{
		Subject: "device " + d.Name, Stage: v.stage, Reason: v.reason, Good: v.stage == DeviceOn,
		Sentence: upper(v.sentence) + ".", Evidence: m.deviceEvidence(d), Advice: v.advice,
	}
	if a.Advice == nil {
		a.Advice = []string{}
	}
	return a
}

func (m Machine) judgeDevice(d Device) verdict {
	slow := fmt.Sprintf("flows through %s stay slow because ", d.Name)
	if v, ok := m.passes(d.Name); !ok {
		why := strings.TrimPrefix(v.sentence, d.Name+" is kept off the fast path: ")
		if v.stage == DeviceNotListed {
			why = "no flowtable lists it"
		}
		v.sentence = slow + why
		return v
	}
	ds := m.decisions(d.Name)
	if len(ds) == 0 {
		return verdict{
			stage: NoFlowAdd, reason: reason.FlowNoRule.Code(), sentence: slow + "the ruleset has no flowtable, and no `flow add` rule",
			advice: advise(m.enable(d.Name, m.other(d.Name)), "then `nft-offload run`"),
		}
	}
	if !m.Pinned {
		return verdict{
			stage: Waiting, reason: reasonNoDaemon, advice: advise("`nft-offload run`"),
			sentence: slow + "no daemon runs, and none has left a datapath",
		}
	}
	return m.on(d, ds)
}

// on is what there is to say of a device that the fast path runs for.
func (m Machine) on(d Device, ds []engine.Decision) verdict {
	v := verdict{stage: DeviceOn}
	own := ds[0]
	switch {
	case own.Name != d.Name:
		v.sentence = fmt.Sprintf("flows through %s are carried on the devices below it, which are listed: %s", d.Name, names(ds))
	default:
		v.sentence = fmt.Sprintf("flows through %s are carried at %s", d.Name, own.Where())
	}
	for _, r := range own.Reasons() {
		v.reason = cmp.Or(v.reason, r.Code.Code())
		if own.Name == d.Name && own.Hook == engine.TC && len(own.On) <= 1 {
			v.sentence += fmt.Sprintf(", and not at XDP because %s", r.Text)
			break
		}
	}
	return v
}

func names(ds []engine.Decision) string {
	var out []string
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%s (%s)", d.Name, d.Where()))
	}
	return strings.Join(out, ", ")
}

// other is a device that packets of this one are likely forwarded to.
func (m Machine) other(name string) string {
	for _, o := range m.forwarding() {
		if o != name {
			return o
		}
	}
	return "DEVICE"
}

func (m Machine) deviceEvidence(d Device) []Line {
	var out []Line
	say := func(what, format string, args ...any) { out = append(out, Line{what, fmt.Sprintf(format, args...)}) }
	if l := m.link(d.Name); l != nil {
		say("device", "%s", kind(l))
	}
	listed := false
	for _, c := range m.decisions(d.Name) {
		listed = true
		say("flowtables", "%s: %s", c.Name, strings.Join(c.Flowtables, ", "))
		say("looked up", "%s: %s", c.Name, c.Where())
		for _, r := range c.Reasons() {
			say("reason", "[%s] %s", r.Code, r.Error())
		}
		for _, u := range c.SlowAbove() {
			say("slow above", "%s: [%s] %s", u.Name, u.Reason.Code, u.Reason.Error())
		}
	}
	if !listed {
		for _, t := range m.Flowtables {
			say("flowtable", "%s lists %s", flowtable(t), cmp.Or(strings.Join(t.Devices, ", "), "nothing"))
		}
		if low := m.lowest(d.Name); len(low) > 0 && !slices.Equal(low, []string{d.Name}) {
			say("below it", "%s", strings.Join(low, ", "))
		}
	}
	if len(d.Attached) > 0 {
		say("programs", "%s", strings.Join(d.Attached, ", "))
	} else {
		say("programs", "none on the device itself")
	}
	out = append(out, m.through(d)...)
	for _, u := range m.Unseen {
		say("not seen", "%s", u)
	}
	return out
}

func kind(l *engine.Link) string {
	parts := []string{cmp.Or(l.Kind, map[bool]string{true: "hardware", false: "virtual"}[l.Physical])}
	if l.Driver != "" && l.Driver != l.Kind {
		parts = append(parts, "driver "+l.Driver)
	}
	if l.Lower != "" {
		parts = append(parts, "on "+l.Lower)
	}
	if l.Master != "" {
		parts = append(parts, fmt.Sprintf("port of the %s %s", l.MasterKind, l.Master))
	}
	return strings.Join(parts, ", ")
}

// through counts the flows in the table that arrive or leave by the device, and those refused there by reason.
func (m Machine) through(d Device) []Line {
	was := byKey(d.Before.Entries)
	var directions, carried int
	var packets uint64
	for i := range d.After.Entries {
		e := &d.After.Entries[i]
		directions++
		carried += flag(ready(e))
		if b := was[key{e.Proto, e.Src, e.Dst}]; b != nil && b.Packets <= e.Packets {
			packets += e.Packets - b.Packets
		}
	}
	out := []Line{{"flows", fmt.Sprintf("%d directions in the table, %d of them carried; %d packets fast %s", directions, carried, packets, m.meanwhile())}}
	type count struct {
		flows   int
		samples uint64
		text    string
	}
	by := map[string]count{}
	for _, r := range d.After.Refused {
		if r.Ago < engine.Seconds(recent) && !r.Passing {
			c := by[r.Code]
			by[r.Code] = count{c.flows + 1, c.samples + r.Samples, r.Text}
		}
	}
	codes := make([]string, 0, len(by))
	for code := range by {
		codes = append(codes, code)
	}
	slices.SortFunc(codes, func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b].flows, by[a].flows), cmp.Compare(a, b))
	})
	for _, code := range codes {
		out = append(out, Line{"refused", fmt.Sprintf("%d directions, %d samples: [%s] %s", by[code].flows, by[code].samples, code, by[code].text)})
	}
	return out
}
