package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/caps/doctor"
)

func (e *env) printDiagnosis(r doctor.Report) {
	e.printMachine(r.Machine)
	e.printFindings(r, "")
	for _, d := range r.Devices {
		fmt.Fprintln(e.stdout)
		known, _ := r.Machine.Device(d.Name)
		e.printTiers(known, d)
		e.printFindings(r, d.Name)
		e.printProbes(r, d.Name)
	}
	fmt.Fprintln(e.stdout)
	e.printHealth(r)
}

func (e *env) printMachine(m caps.Machine) {
	w, width := e.stdout, e.width()
	wrap(w, "machine  ", fmt.Sprintf("Linux %s, %s, nft %s, tc %s", m.Kernel.Version, count(m.CPUs, "CPU"),
		cmp.Or(m.NFT, "missing"), cmp.Or(m.TC, "missing")), width)
	groups := map[caps.Answer][]string{}
	for _, o := range caps.Options() {
		a := m.Kernel.Has(o)
		groups[a] = append(groups[a], string(o))
	}
	for _, a := range []caps.Answer{caps.Yes, caps.No, caps.Unknown} {
		if len(groups[a]) > 0 {
			wrap(w, fmt.Sprintf("%-9s", map[caps.Answer]string{caps.Yes: "has", caps.No: "lacks", caps.Unknown: "unknown"}[a]),
				strings.Join(groups[a], ", "), width)
		}
	}
}

// printFindings prints those of one device, or of the machine.
func (e *env) printFindings(r doctor.Report, device string) {
	for _, f := range r.Findings {
		if f.Device != device {
			continue
		}
		mark := e.bad
		if f.Level == doctor.Note {
			mark = e.plain
		}
		e.marked(string(f.Level), fmt.Sprintf("  %-7s ", f.Level), fmt.Sprintf("[%s] %s", f.Reason, f.Text), mark)
		if f.Next != "" && f.Next != "nothing" {
			wrap(e.stdout, "          next: ", strings.ReplaceAll(f.Next, "`", ""), e.width())
		}
	}
}

// marked prints text behind a prefix that has the word to color. Colored at last: escapes take no columns.
func (e *env) marked(word, prefix, text string, color func(string) string) {
	var b strings.Builder
	wrap(&b, prefix, text, e.width())
	head, rest := b.String(), ""
	if len(head) > len(prefix) {
		head, rest = head[:len(prefix)], head[len(prefix):]
	}
	fmt.Fprint(e.stdout, strings.Replace(head, word, color(word), 1)+rest)
}

func (e *env) plain(s string) string { return s }

func (e *env) printTiers(d caps.Device, r doctor.Device) {
	e.marked(d.Name, "device "+d.Name+": ", strings.Join(about(d, r.Profile), ", "), e.bold)
	for _, line := range stacking(d) {
		wrap(e.stdout, "  ", line, e.width())
	}
	for _, t := range r.Tiers {
		prefix := fmt.Sprintf("  %-17s %-8s ", t.Name, t.Can)
		color := e.good
		if t.Can != caps.SupportYes {
			color = e.bad
		}
		if t.Why == "" {
			prefix = strings.TrimRight(prefix, " ")
			fmt.Fprintln(e.stdout, strings.TrimSuffix(prefix, string(t.Can))+color(string(t.Can)))
		}
		e.marked(string(t.Can), prefix, t.Why, color)
		if t.Next != "" {
			wrap(e.stdout, strings.Repeat(" ", 29)+"next: ", strings.ReplaceAll(t.Next, "`", ""), e.width())
		}
	}
}

// about says in short what a device is.
func about(d caps.Device, profile string) []string {
	driver := cmp.Or(d.Driver, d.Kind, "no driver")
	if d.Firmware != "" {
		driver += " (firmware " + d.Firmware + ")"
	}
	out := []string{driver}
	if profile != "" && profile != d.Driver {
		out = append(out, "profile "+profile)
	}
	if d.Speed > 0 {
		out = append(out, linkSpeed(d.Speed))
	}
	state := "down"
	switch {
	case d.Up && d.Carrier:
		state = "up"
	case d.Up:
		state = "up without carrier"
	}
	out = append(out, state)
	for _, x := range []struct {
		label, text string
	}{
		{"xdp ", d.XDP.String()},
		{"hw-tc-offload ", string(d.HWTCOffload)},
		{"eswitch ", string(d.Eswitch)},
		{"qdisc ", d.Qdisc.Root},
		{"queues ", queues(d.Queues)},
		{"rings ", rings(d.Rings)},
	} {
		if x.text != "" {
			out = append(out, x.label+x.text)
		}
	}
	return out
}

func linkSpeed(mbit int) string {
	if mbit >= 1000 {
		return fmt.Sprintf("%g Gbit/s", float64(mbit)/1000)
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}

func queues(q caps.Queues) string {
	switch {
	case q.MaxCombined > 0:
		return fmt.Sprintf("%d of %d", q.Combined, q.MaxCombined)
	case q.MaxRx > 0:
		return fmt.Sprintf("rx %d of %d tx %d of %d", q.Rx, q.MaxRx, q.Tx, q.MaxTx)
	}
	return ""
}

func rings(r caps.Rings) string {
	var out []string
	if r.MaxRx > 0 {
		out = append(out, fmt.Sprintf("rx %d of %d", r.Rx, r.MaxRx))
	}
	if r.MaxTx > 0 {
		out = append(out, fmt.Sprintf("tx %d of %d", r.Tx, r.MaxTx))
	}
	return strings.Join(out, " ")
}

// stacking says what a device stands on and what stands on it.
func stacking(d caps.Device) []string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	if d.VLAN != nil {
		add(true, "VLAN %d (%s)", d.VLAN.ID, d.VLAN.Protocol)
	}
	add(len(d.Lower) > 0, "stands on %s", strings.Join(d.Lower, ", "))
	add(d.Kind == "ppp" && len(d.Lower) == 0, "stands on a device that the kernel does not name")
	add(d.Master != "", "port of %s", d.Master)
	add(len(d.Uppers) > 0, "below %s", strings.Join(d.Uppers, ", "))
	add(d.VLANFiltering, "filters VLANs")
	add(d.Peer != "", "the other end is %s", d.Peer)
	add(d.Switch.Role == caps.RoleDSAPort, "port of a DSA switch on %s", cmp.Or(d.Switch.Conduit, "a device of another namespace"))
	add(d.Switch.Role == caps.RoleConduit, "carries the frames of a DSA switch")
	add(d.Switch.Role == caps.RoleRepresentor, "representor %s of switch %s", d.Switch.PortName, d.Switch.ID)
	add(d.Switch.Role == caps.RoleUplink, "wire %s of switch %s", d.Switch.PortName, d.Switch.ID)
	add(d.Switch.Role == caps.RoleSwitchPort, "port %s of switch %s", d.Switch.PortName, d.Switch.ID)
	return out
}

func (e *env) printProbes(r doctor.Report, device string) {
	for _, p := range r.Probes {
		if p.Device != device {
			continue
		}
		text := p.What + ": " + p.Words // not asked: why
		switch p.Taken {
		case caps.Yes:
			text = p.What + ": taken " + p.Words
		case caps.No:
			text = p.What + ": refused: " + p.Words
		case caps.Unknown:
		}
		wrap(e.stdout, "  probe ", text, e.width())
		if p.Left != "" {
			wrap(e.stdout, "    left: ", p.Left, e.width())
		}
	}
}

func (e *env) printHealth(r doctor.Report) {
	color := e.bad
	if r.Health == doctor.Healthy {
		color = e.good
	}
	fmt.Fprintf(e.stdout, "%s: %s, %s, %s\n", color(string(r.Health)), count(r.Count(doctor.Problem), "problem"),
		count(r.Count(doctor.Warning), "warning"), count(r.Count(doctor.Note), "note"))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
