package doctor

import (
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// slowLink is the speed in Mbit/s that one CPU forwards on the slow path, with packets of full size.
const slowLink = 1000

// deviceFindings are about one device, those that keep the most from it first.
func deviceFindings(in Input, d caps.Device) []Finding {
	var out []Finding
	add := func(l Level, r reason.Reason, text, next string) {
		f := finding(l, r)
		f.Device, f.Text = d.Name, text
		if next != "" {
			f.Next = next
		}
		out = append(out, f)
	}
	for _, p := range d.XDPPrograms {
		add(Warning, reason.DeviceForeignXDP, fmt.Sprintf("%s XDP program %q (id %d) of somebody else is on it", p.Mode, p.Name, p.ID),
			fmt.Sprintf("ip link set dev %s xdp off, if nobody needs it", d.Name))
	}
	for _, f := range d.Filters {
		hook := "ingress"
		if f.Egress {
			hook = "egress"
		}
		add(Warning, reason.DeviceForeignFilter, fmt.Sprintf("somebody else's filter would not see fast packets: %s", f.Text),
			fmt.Sprintf("tc filter show dev %s %s", d.Name, hook))
	}
	if fast := in.Fast[d.Name]; len(fast.On) == 0 && (fast.Code == "xdp-rxvlan-on" || fast.Code == "xdp-lro-on") {
		add(Warning, reason.NoNativeXDP, "XDP is possible, and a setting keeps it away: "+fast.Text, fast.Advice)
	}
	if fast := in.Fast[d.Name]; fast.Hook == "xdp" && fast.Target != "" && len(fast.On) == 0 && !d.Qdisc.Shapes() {
		add(Note, reason.EgressLacksXDPXmit, fast.Target, "nothing: tc carries what leaves by it")
	}
	in.hardwareFindings(d, add)
	if d.Qdisc.Shapes() {
		add(Note, reason.DeviceShaped, fmt.Sprintf("the %s qdisc shapes: flows leave by tc, through it, not by XDP", d.Qdisc.Shaper), "nothing")
	}
	if d.Bus != "" && d.Kind == "" {
		portFindings(in, d, add)
	}
	return out
}

// adder adds a finding about a device; an empty next is the reason's own.
type adder func(l Level, r reason.Reason, text, next string)

// hardwareFindings say what hardware would do more.
func (in Input) hardwareFindings(d caps.Device, add adder) {
	p, ok := in.profile(d)
	if !ok {
		return
	}
	some := p.Chain == caps.SupportYes || p.Chain == caps.SupportPartly || p.Flowtable == caps.Yes
	if some && d.HWTCOffload == caps.Off {
		add(Warning, reason.HwTcOffloadOff, "hw-tc-offload is off: the hardware takes no rules", fmt.Sprintf("ethtool -K %s hw-tc-offload on", d.Name))
	}
	if slices.Contains(p.Conditions, caps.NotWithNtuple) && d.Ntuple.On() == caps.Yes {
		add(Warning, reason.NtupleOn, "ntuple filters are on, and the driver takes no rules beside them", fmt.Sprintf("ethtool -K %s ntuple off", d.Name))
	}
	if d.Eswitch == caps.EswitchLegacy && d.Bus != "" && moreInSwitchdev(p) {
		add(Note, reason.EswitchLegacy, "the NIC's switch is in legacy mode; in switchdev mode it takes more",
			fmt.Sprintf("devlink dev eswitch set pci/%s mode switchdev (interrupts its virtual functions)", d.Bus))
	}
}

// moreInSwitchdev reports whether the driver has a profile for switchdev mode.
func moreInSwitchdev(p caps.Profile) bool {
	if len(p.Drivers) == 0 {
		return false
	}
	other, ok := caps.For(p.Drivers[0], caps.ModeUplink)
	return ok && other.Name != p.Name
}

// portFindings are about the port of a machine: link, queues, rings.
func portFindings(in Input, d caps.Device, add adder) {
	switch {
	case !d.Up:
		add(Note, reason.DeviceDown, "switched off", fmt.Sprintf("ip link set %s up", d.Name))
	case !d.Carrier:
		add(Note, reason.DeviceDown, "no carrier", "see cable and other end")
	}
	if d.Carrier && d.Speed > 0 && d.Speed <= slowLink {
		add(Note, reason.DeviceSlowLink, fmt.Sprintf("a CPU forwards %s without offload; it would save CPU time", speed(d.Speed)), "nothing")
	}
	q := d.Queues
	use, most, what := q.Rx, q.MaxRx, "rx"
	if q.MaxCombined > 0 {
		use, most, what = q.Combined, q.MaxCombined, "combined"
	}
	if could := min(most, in.Machine.CPUs); use > 0 && use < could {
		add(Note, reason.QueuesFewerThanCPUs, fmt.Sprintf("%d of %d queues in use, for %d CPUs", use, most, in.Machine.CPUs),
			fmt.Sprintf("ethtool -L %s %s %d", d.Name, what, could))
	}
	if r := d.Rings; r.Rx > 0 && r.Rx < r.MaxRx {
		add(Note, reason.RingSmall, fmt.Sprintf("receive rings of %d descriptors, %d are possible", r.Rx, r.MaxRx),
			fmt.Sprintf("ethtool -G %s rx %d, where packets are lost in bursts", d.Name, r.MaxRx))
	}
}

// speed renders Mbit/s.
func speed(mbit int) string {
	if mbit >= 1000 && mbit%100 == 0 {
		return fmt.Sprintf("%g Gbit/s", float64(mbit)/1000)
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}
