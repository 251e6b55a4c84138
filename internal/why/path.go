package why

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// place looks at the devices the flow passes.
func (m Machine) place(f Flow) (verdict, bool) {
	for _, d := range []struct {
		name   string
		routed bool
	}{{f.In, f.RoutedIn}, {f.Out, f.RoutedOut}} {
		if d.name == "" {
			continue
		}
		v, ok := m.passes(d.name)
		if ok {
			continue
		}
		if d.routed && v.stage == DeviceNotListed {
			v.sentence = "by the routing table " + v.sentence
		}
		return v, true
	}
	return verdict{}, false
}

// passes reports whether the fast path runs for a device, or says why not.
func (m Machine) passes(name string) (verdict, bool) {
	ds := m.decisions(name)
	if len(ds) == 0 {
		if len(m.Flowtables) == 0 {
			return verdict{}, true // refused has said so
		}
		where, how := m.list(name)
		return verdict{
			stage: DeviceNotListed, reason: reason.FlowLowerDeviceNotListed.Code(), advice: how,
			sentence: fmt.Sprintf("it passes %s, which %s", name, where),
		}, false
	}
	for _, d := range ds {
		for _, u := range d.Slow {
			if u.Name == name {
				return off(name, u.Reason), false
			}
		}
	}
	if i := slices.IndexFunc(ds, func(d engine.Decision) bool { return d.Hook != engine.Off }); i >= 0 {
		return verdict{}, true
	}
	return off(name, ds[0].Reason), false
}

func off(name string, r engine.Reason) verdict {
	return verdict{
		stage: DeviceOff, reason: r.Code.Code(), advice: advise(r.Advice),
		sentence: fmt.Sprintf("%s is kept off the fast path: %s", name, r.Text),
	}
}

// list says that no flowtable lists a device, and how to list it.
func (m Machine) list(name string) (where string, how []string) {
	t := m.Flowtables[0]
	if len(m.Flowtables) == 1 {
		where = fmt.Sprintf("flowtable %s does not list", flowtable(t))
	} else {
		where = "no flowtable lists"
	}
	lowest := m.lowest(name)
	if len(lowest) == 0 {
		lowest = []string{name}
	}
	return where, []string{addDevices(t, lowest)}
}

// addDevices is the command that lists devices in a flowtable.
func addDevices(t engine.Flowtable, names []string) string {
	if t.Lowered {
		quoted := `"` + strings.Join(names, `", "`) + `"`
		return fmt.Sprintf("`nft 'add element %s { %s }'`, and add it to the file that the ruleset is loaded from", flowtable(t), quoted)
	}
	return fmt.Sprintf("`nft 'add flowtable %s { devices = { %s }; }'`, and add it to the file that the ruleset is loaded from", flowtable(t), strings.Join(names, ", "))
}

// datapath looks at what the programs say of a flow that was handed over and whose devices run them.
func (m Machine) datapath(f Flow) (verdict, bool) {
	if !m.Pinned {
		return verdict{
			stage: Waiting, reason: reasonNoDaemon, sentence: "nothing carries flows here: no daemon runs, and none has left a datapath",
			advice: advise("`nft-offload run`"),
		}, true
	}
	if r := f.refused(); r != nil {
		return m.refusal(f, r), true
	}
	for i, d := range f.Dirs {
		if d.Entry == nil || d.Entry.State == "dead" {
			continue
		}
		if v, ok := m.learned(f, i); ok {
			return v, true
		}
	}
	return f.oddities()
}

// oddities puts packets in words whose ports cannot be read, where nothing else is known.
func (f Flow) oddities() (verdict, bool) {
	for _, d := range f.Dirs {
		if r := d.Odd; r != nil && r.Ago < engine.Seconds(justNow) {
			return verdict{
				stage: Refused, reason: r.Code, advice: advise(r.Advice),
				sentence: fmt.Sprintf("packets from %s to %s are of a kind that the datapath does not read: %s", r.Src.Addr(), r.Dst.Addr(), r.Text),
			}, true
		}
	}
	return verdict{}, false
}

// refused is the refusal that says most about now: one that lasts before one that may pass by itself, then the latest.
func (f Flow) refused() *engine.Refused {
	var best *engine.Refused
	for _, d := range f.Dirs {
		r := d.Refused
		if r == nil || r.Ago > engine.Seconds(recent) || r.Code == reason.SeenNotAdded.Code() || r.Code == reason.SeenUntracked.Code() {
			continue
		}
		if e := d.Entry; e != nil && ready(e) {
			continue // was learned since
		}
		if best == nil || best.Passing && !r.Passing || best.Passing == r.Passing && r.Ago < best.Ago {
			best = r
		}
	}
	return best
}

// refusal puts a refusal of the datapath in words.
func (m Machine) refusal(f Flow, r *engine.Refused) verdict {
	v := verdict{stage: Refused, reason: r.Code, sentence: r.Text, advice: advise(r.Advice)}
	switch code, _ := reason.Parse(r.Code); code {
	case reason.SeenOneWay:
		v.stage = Waiting
		v.sentence = "packets of one direction only pass these devices, and a flow is carried in both or not at all"
		v.advice = advise("the answers take another way (asymmetric routing): compare `ip route get` for both ends, and list the device they come by")
	case reason.SeenNotLiberal:
		return m.illiberal()
	case reason.SeenAltered:
		if m.Rules == nil {
			break
		}
		if rule, text, ok := mangler(m.Rules, f); ok {
			v.sentence = fmt.Sprintf("rule %s (`%s`) changes its packets, and fast ones would miss it", rule, text)
			v.advice = advise("take the flow out of that rule, or leave it slow")
		}
	case reason.EntryNotReady, reason.SeenMinPackets, reason.SeenTCPState, reason.SeenCTState:
		v.stage = Waiting
	default:
	}
	for _, c := range r.Causes {
		v.reason = c.Reason.Code.Code()
	}
	return v
}

func (m Machine) illiberal() verdict {
	v := verdict{stage: Waiting, reason: reason.SeenNotLiberal.Code(), sentence: "it waits for the daemon to make conntrack accept that it sees only a sample of the packets (BE_LIBERAL)"}
	if !m.Daemon {
		v.sentence += ", and no daemon runs"
		v.advice = advise("`nft-offload run`")
	}
	return v
}

// learned is what an entry says that carries nothing: direction i has one.
func (m Machine) learned(f Flow, i int) (verdict, bool) {
	d, other := f.Dirs[i], f.Dirs[1-i]
	switch {
	case d.Entry.State == engine.StateReady && d.Entry.Lease <= 0:
		return verdict{
			stage: Waiting, reason: reason.EntryExpired.Code(), sentence: fmt.Sprintf("its lease is over: the kernel has not forwarded a packet of it for %s", span(d.Entry.Idle)),
			advice: advise("if packets come, the kernel drops or holds them: a rule, a route or a neighbor has changed"),
		}, true
	case other.Entry == nil:
		return m.refusal(f, &engine.Refused{Code: reason.SeenOneWay.Code()}), true
	case f.Conn != nil && f.Conn.Orig.Proto == 6 && !f.Conn.Liberal && !f.Conn.Bits.Offload:
		return m.illiberal(), true
	}
	return verdict{}, false
}

// quiet reports whether no packet of the flow came between the two looks, as far as anybody can tell.
func (m Machine) quiet(f Flow) bool {
	if f.Conn == nil || f.Before == nil {
		return false
	}
	if m.Accounting {
		return f.counted() == 0
	}
	return f.Conn.HasTimeout && !f.fresh()
}

// unseen is said when everything is as it should be and the datapath knows nothing of the flow.
func (m Machine) unseen(f Flow) verdict {
	switch {
	case m.quiet(f):
		return verdict{stage: Waiting, reason: reasonNoPackets, sentence: fmt.Sprintf("no packet of it came %s, and entries are made of packets", m.meanwhile())}
	case m.MinPackets > 1:
		return verdict{
			stage: Waiting, reason: reason.SeenMinPackets.Code(),
			sentence: fmt.Sprintf("the datapath has not seen %d packets of each direction that it could learn from yet", m.MinPackets),
			advice:   advise("`nft-offload run --min-packets 1` makes entries for short flows, too"),
		}
	}
	return verdict{stage: Waiting, reason: reasonUnseen, sentence: "the datapath has not seen a packet of it yet that it could learn from"}
}
