package why

import (
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
)

// evidence is what the answer rests on, one line a source.
func (m Machine) evidence(f Flow) []Line {
	var out []Line
	say := func(what, format string, args ...any) { out = append(out, Line{what, fmt.Sprintf(format, args...)}) }
	if f.Conn == nil {
		say("conntrack", "no entry")
	} else {
		out = append(out, m.connection(f)...)
	}
	if f.In != "" || f.Out != "" {
		how := ""
		switch {
		case f.RoutedIn && f.RoutedOut:
			how = " (by the routing table; not seen)"
		case f.RoutedIn || f.RoutedOut:
			how = fmt.Sprintf(" (%s by the routing table; not seen)", map[bool]string{true: f.In, false: f.Out}[f.RoutedIn])
		}
		say("devices", "%s > %s%s", unknown(f.In), unknown(f.Out), how)
	}
	for _, d := range f.Dirs {
		out = append(out, m.direction(d)...)
	}
	if m.Accounting && f.Conn != nil && f.Before != nil {
		say("slow path", "conntrack counted %d packets %s", f.counted(), m.meanwhile())
	}
	if !m.Daemon {
		say("daemon", "%s", map[bool]string{true: "none runs; its datapath is pinned and goes on under leases", false: "none runs, and no datapath is pinned"}[m.Pinned])
	}
	for _, u := range m.Unseen {
		say("not seen", "%s", u)
	}
	return out
}

// connection is what conntrack knows.
func (m Machine) connection(f Flow) []Line {
	c := f.Conn
	out := []Line{{"conntrack", c.text()}}
	if c.nat() {
		out = append(out, Line{"translated", "leaves as " + name(c.Reply.Reverse())})
	}
	if by, ok := m.taken(*c); ok {
		out = append(out, Line{"handed over", "yes, by " + by})
	} else if lacks := m.lacks(); lacks != "" {
		out = append(out, Line{"handed over", "no, it lacks " + lacks})
	}
	if c.Bits.Offload && !c.Bits.HWOffload {
		out = append(out, Line{"hardware", "no, the status bit hw-offload is not set" + m.asked(f)})
	}
	return out
}

func unknown(device string) string {
	if device == "" {
		return "?"
	}
	return device
}

// direction is what the datapath knows of one direction.
func (m Machine) direction(d Direction) []Line {
	var out []Line
	if e := d.Entry; e != nil {
		lease := "lease over"
		if e.Lease > 0 {
			lease = fmt.Sprintf("lease %s", span(e.Lease))
		}
		text := fmt.Sprintf("%s, %s, %s; %s: %d packets fast, %d slow; since %s: %d fast", e.Hook, e.State, lease, m.meanwhile(), d.Fast, d.Slow, span(e.Age), e.Packets)
		if e.LastMiss != "" {
			text += fmt.Sprintf("; last slow one %s ago: %s", span(e.LastMissAgo), e.LastMiss)
		}
		out = append(out, Line{fmt.Sprintf("%s > %s", device(e.In, e.InIndex), device(e.Out, e.OutIndex)), text})
	}
	if r := d.Refused; r != nil && r.Ago < engine.Seconds(recent) && !ready(d.Entry) {
		out = append(out, Line{"refused", fmt.Sprintf("%s > %s: %s, %d samples, the last %s ago", device(r.In, r.InIndex), device(r.Out, r.OutIndex), r.Code, r.Samples, span(r.Ago))})
	}
	if r := d.Odd; r != nil && r.Ago < engine.Seconds(recent) {
		out = append(out, Line{"unreadable", fmt.Sprintf("%s > %s by %s: %s, %d samples, the last %s ago", r.Src.Addr(), r.Dst.Addr(), device(r.In, r.InIndex), r.Code, r.Samples, span(r.Ago))})
	}
	return out
}

func device(name string, index uint32) string {
	if name == "" {
		return fmt.Sprintf("#%d", index)
	}
	return name
}

// seconds renders a duration in seconds with one digit behind the point: "1.0 s".
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// span is seconds for short times, and "2m05s" for longer ones.
func span(s engine.Seconds) string {
	d := time.Duration(s)
	if d < time.Minute {
		return seconds(d)
	}
	return d.Truncate(time.Second).String()
}

// Packets counts what happened to all packets between two looks, by reason: of those that have one of the packet itself.
// Packets without ports (fragments) or with headers that are not read cannot be told by flow.
func Packets(before, after Snapshot) []engine.Count {
	was := map[string]uint64{}
	for _, c := range before.Reasons {
		was[c.Code] = c.Packets
	}
	out := []engine.Count{}
	for _, c := range after.Reasons {
		if c.Stage == "packet" && c.Packets > was[c.Code] {
			c.Packets -= was[c.Code]
			out = append(out, c)
		}
	}
	return out
}
