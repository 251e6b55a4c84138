package why

import (
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Explain says of a flow which stage it is at, and why it is no further.
func (m Machine) Explain(f Flow) Answer {
	v := m.judge(f)
	a := Answer{
		Subject: name(f.Tuple), Stage: v.stage, Reason: v.reason, Good: v.stage == Carried || v.stage == Hardware,
		Sentence: sentence(v), Evidence: m.evidence(f), Advice: v.advice, Connection: f.Conn, In: f.In, Out: f.Out,
	}
	if a.Advice == nil {
		a.Advice = []string{}
	}
	for _, d := range f.Dirs {
		if d.Entry != nil {
			a.Entries = append(a.Entries, *d.Entry)
		}
		if d.Refused != nil {
			a.Refused = append(a.Refused, *d.Refused)
		}
	}
	return a
}

// sentence completes what a stage has to say.
func sentence(v verdict) string {
	if v.stage == Carried || v.stage == Hardware || v.stage == KernelFlowtable {
		return upper(v.sentence) + "."
	}
	return "It stays slow because " + v.sentence + "."
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// judge goes through the stages.
func (m Machine) judge(f Flow) verdict {
	steps := []func(Flow) (verdict, bool){m.hardware, m.carried}
	if f.Conn != nil && f.Conn.Bits.Offload {
		if v, ok := first(f, append(steps, m.place, m.datapath)); ok {
			return onKernel(v)
		}
		return onKernel(m.unseen(f))
	}
	steps = append(steps, m.refused, m.handedOver, m.place, m.datapath)
	if v, ok := first(f, steps); ok {
		return v
	}
	return m.unseen(f)
}

func first(f Flow, steps []func(Flow) (verdict, bool)) (verdict, bool) {
	for _, step := range steps {
		if v, ok := step(f); ok {
			return v, true
		}
	}
	return verdict{}, false
}

// onKernel is what is left to say where the kernel's flowtable has the flow.
func onKernel(v verdict) verdict {
	if v.stage == Carried || v.stage == Hardware {
		return v
	}
	v.stage = KernelFlowtable
	v.sentence = "it is on the kernel's own flowtable (or that of act_ct) and not on nft-offload's, because " + v.sentence
	return v
}

func (m Machine) hardware(f Flow) (verdict, bool) {
	if f.Conn == nil || !f.Conn.Bits.HWOffload {
		return verdict{}, false
	}
	return verdict{stage: Hardware, sentence: "the device forwards it in hardware: conntrack has the status bit hw-offload, which the kernel sets once the driver took the flow"}, true
}

func (m Machine) carried(f Flow) (verdict, bool) {
	a, b := f.Dirs[0], f.Dirs[1]
	if !ready(a.Entry) || !ready(b.Entry) {
		return verdict{}, false
	}
	v := verdict{stage: Carried}
	fast, slow := a.Fast+b.Fast, a.Slow+b.Slow
	how := fmt.Sprintf("it is carried at %s", hooks(a.Entry, b.Entry))
	switch {
	case fast+slow == 0:
		v.sentence = how + ", and no packet came meanwhile"
	case slow == 0:
		v.sentence = fmt.Sprintf("%s: all %d packets that came %s were fast", how, fast, m.meanwhile())
	default:
		v.sentence = fmt.Sprintf("%s: %d of the %d packets that came %s were fast (%.1f %%)", how, fast, fast+slow, m.meanwhile(), 100*float64(fast)/float64(fast+slow))
	}
	if fast == 0 && slow > 0 {
		v.stage, v.reason = Refused, a.Entry.LastMiss
		v.sentence = fmt.Sprintf("it is in the table, yet none of the %d packets that came %s could be carried", slow, m.meanwhile())
	}
	for _, d := range f.Dirs {
		if d.Slow*10 > d.Fast+d.Slow && d.Entry.LastMiss != "" {
			v.reason = d.Entry.LastMiss
			v.sentence += fmt.Sprintf("; the last slow one of %s > %s: %s", d.Entry.In, d.Entry.Out, d.Entry.LastMissText)
			v.advice = advise(d.Entry.LastMissAdvice)
			break
		}
	}
	return v, true
}

func hooks(a, b *engine.Flow) string {
	if a.Hook == b.Hook {
		return string(a.Hook) + " in both directions"
	}
	return fmt.Sprintf("%s one way and %s the other", a.Hook, b.Hook)
}

// meanwhile names the time between the two looks.
func (m Machine) meanwhile() string { return fmt.Sprintf("within %s", seconds(m.Period)) }

// forwardedNot is said of what begins or ends here.
func forwardedNot() verdict {
	return verdict{
		stage: NotForwarded, reason: reason.FlowNotForwarded.Code(), sentence: "it begins or ends on this machine, and only forwarded packets pass the forward hook where `flow add` is",
		advice: advise("measure between two other hosts, with this machine between them"),
	}
}

// handsNothing is said where no rule hands flows over at all.
func (m Machine) handsNothing(f Flow) verdict {
	v := verdict{stage: NoFlowAdd, reason: reason.FlowNoRule.Code()}
	if len(m.Flowtables) > 0 {
		t := m.Flowtables[0]
		v.sentence = fmt.Sprintf("no rule of the ruleset has `flow add`: flowtable %s is there, but nothing is handed to it", flowtable(t))
		v.advice = advise(fmt.Sprintf("put `meta l4proto { tcp, udp } ct state established flow add @%s` at the beginning of a chain of table %s %s that is hooked to forward", t.Name, t.Family, t.Table))
		return v
	}
	v.sentence = "the ruleset has no `flow add` rule, so no flow is ever handed over; `nft-offload enable` adds one without editing it"
	v.advice = advise(m.enable(f.In, f.Out))
	if !m.Daemon {
		v.advice = append(v.advice, "then `nft-offload run`")
	}
	return v
}

// enable is the command with the flow's devices, or with those that this machine is likely to forward between.
func (m Machine) enable(in, out string) string {
	names := []string{in, out}
	if in == "" || out == "" || in == out {
		names = m.forwarding()
	}
	if len(names) == 0 {
		names = []string{"DEVICE", "DEVICE"}
	}
	return fmt.Sprintf("`nft-offload enable %s`", strings.Join(names, " "))
}

// untracked is said of what conntrack does not know.
func untracked(f Flow) verdict {
	v := verdict{stage: NotTracked, reason: reason.FlowUntracked.Code(), sentence: "conntrack has no entry for it (any more), and only tracked flows are handed over"}
	for _, d := range f.Dirs {
		if d.Refused != nil && d.Refused.Code == reason.SeenUntracked.Code() {
			v.sentence = "its packets pass without a conntrack entry (notrack), and only tracked flows are handed over"
			v.advice = advise("take it out of the `notrack` rule: `nft list ruleset | grep notrack`")
		}
	}
	return v
}
