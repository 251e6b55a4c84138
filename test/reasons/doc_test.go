// Package reasons checks what the program says "no" with: docs/reasons.md has every code, no two things have one code,
// and each reason is said by something.
package reasons

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/reason"
)

const doc = "../../docs/reasons.md"

// TestReasonsAreDocumented compares docs/reasons.md with the code; UPDATE_DOCS=1 writes it.
func TestReasonsAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for _, s := range reason.Scopes() {
		writeScope(&b, s)
	}
	writeEngine(&b)
	writeLink(t, &b)
	writeDatapath(&b)
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(doc, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the code says; UPDATE_DOCS=1 go test ./test/reasons writes it", doc)
	}
}

const head = `# Reasons

Every "no" and every finding has a code. Codes stay the same between releases: programs may compare them. This page is
written from the code: ` + "`UPDATE_DOCS=1 go test ./test/reasons`" + `.
`

func writeScope(b *strings.Builder, s reason.Scope) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| code | what it says | what to do | where it comes from |\n|---|---|---|---|\n", title(s), intro(s))
	for _, r := range reason.Of(s) {
		i := r.Info()
		text := i.Text
		if i.Kernel != "" {
			text += " (Linux: " + i.Kernel + ")"
		}
		row(b, "`"+i.Code+"`", text, i.Remedy, i.Source)
	}
}

func title(s reason.Scope) string {
	switch s {
	case reason.Rule:
		return "Rules"
	case reason.Chain:
		return "Chains"
	case reason.Flowtable:
		return "Flowtables"
	case reason.Flow:
		return "Flows in the kernel's flowtable"
	case reason.Packet:
		return "Packets of flows in the kernel's flowtable"
	case reason.Device:
		return "Devices"
	case reason.Machine:
		return "Machines"
	case reason.Lint:
		return "Findings about rulesets"
	default:
		return s.String()
	}
}

func intro(s reason.Scope) string {
	switch s {
	case reason.Rule:
		return "Why `plan` leaves a rule of an ingress chain to the kernel, or does not give it to hardware."
	case reason.Chain:
		return "Why the kernel offloads no rule of a chain, or no packet comes to it."
	case reason.Flowtable:
		return "Why a flowtable cannot be made, or carries less than it seems to."
	case reason.Flow:
		return "Why `why` says that a flow which met `flow add` is not in the flowtable, or not in hardware."
	case reason.Packet:
		return "Why the kernel's flowtable gives a packet to the slow path. What nft-offload's own fast path says is further below."
	case reason.Device:
		return "What `doctor` and `plan` find about a device."
	case reason.Machine:
		return "What `doctor` finds about kernel and tools. The bugs behind `kernel-quirk` are in [kernel-bugs.md](kernel-bugs.md)."
	case reason.Lint:
		return "What `plan` finds about a ruleset as a whole; [lint.md](lint.md) has examples."
	default:
		return ""
	}
}

func writeEngine(b *strings.Builder) {
	b.WriteString("\n## Devices, as `run` and `status` decide\n\nWhy a device is not used, or not at XDP.\n\n| code | what it says |\n|---|---|\n")
	for _, c := range engine.Codes() {
		row(b, "`"+string(c.Code)+"`", c.Text)
	}
}

// writeLink has the sentences that package link says of a device called DEV.
func writeLink(t *testing.T, b *strings.Builder) {
	said := linkReasons()
	b.WriteString("\n## XDP on a device\n\nWhy a device's frames are not looked up at XDP, or not sent by XDP.\n\n| code | what it says | what to do |\n|---|---|---|\n")
	for _, c := range link.Codes() {
		r, ok := said[c]
		if !ok {
			t.Errorf("no device of this test is refused with %s", c)
		}
		row(b, "`"+string(c)+"`", r.Text, r.Fix)
	}
}

func linkReasons() map[link.Code]link.Reason {
	nic := func(change func(*link.Device)) link.Device {
		d := link.Device{
			Name: "DEV", ARPHRD: 1, Driver: "DRIVER", Parent: "BUS",
			XDP:      link.XDPFeatures{Known: true, Bits: link.XDPBasic | link.XDPRedirect | link.XDPNdoXmit},
			Features: map[string]link.Feature{},
		}
		change(&d)
		return d
	}
	devices := []link.Device{
		nic(func(d *link.Device) { d.ARPHRD = 512 }),
		nic(func(d *link.Device) { d.Kind = "vlan" }),
		nic(func(d *link.Device) { d.XDP.Bits = 0 }),
		nic(func(d *link.Device) { d.ForeignXDP = []link.XDPProgram{{ID: 1, Name: "NAME"}} }),
		nic(func(d *link.Device) { d.Kind, d.Uppers = "veth", []link.Upper{{Name: "DEV.10", Kind: "vlan"}} }),
		nic(func(d *link.Device) { d.Features[link.RxVLAN] = link.Feature{On: true} }),
		nic(func(d *link.Device) { d.Features[link.RxVLAN] = link.Feature{On: true, Fixed: true} }),
		nic(func(d *link.Device) { d.Features[link.LRO] = link.Feature{On: true} }),
		nic(func(d *link.Device) { d.XDP.Known = false }),
		nic(func(d *link.Device) { d.Qdisc = link.Qdisc{Root: "cake", Shaper: "cake"} }),
	}
	said := map[link.Code]link.Reason{}
	for _, d := range devices {
		for _, r := range []link.Reason{d.XDPCapable(), d.XDPTarget()} {
			if _, first := said[r.Code]; !first {
				said[r.Code] = r
			}
		}
	}
	return said
}

func writeDatapath(b *strings.Builder) {
	for _, part := range []struct {
		stage datapath.Stage
		title string
		text  string
	}{
		{datapath.StagePacket, "Packets, before the fast path looks them up", "What arrived is for the kernel."},
		{datapath.StageTable, "Packets, when the fast path looks them up", "What the flow's entry says, or that there is none."},
		{datapath.StageObserve, "Packets that the kernel forwarded", "What the fast path learned from a packet, or why it learned nothing."},
	} {
		fmt.Fprintf(b, "\n## %s\n\n%s `status` counts them, `why` names the last one of a flow.\n\n| code | what it says | what to do |\n|---|---|---|\n", part.title, part.text)
		for _, r := range datapath.Reasons() {
			if i := r.Info(); i.Stage == part.stage {
				row(b, "`"+i.Code+"`", i.Text, i.Advice)
			}
		}
	}
}

// row writes one row of a table.
func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}

func TestNoTwoThingsHaveOneCode(t *testing.T) {
	seen := map[string]string{}
	add := func(where, code string) {
		if other, dup := seen[code]; dup {
			t.Errorf("%s: code %q is one of %s, too", where, code, other)
		}
		seen[code] = where
	}
	for _, r := range reason.All() {
		add("reason", r.Code())
	}
	for _, c := range engine.Codes() {
		add("engine", string(c.Code))
	}
	for _, c := range link.Codes() {
		add("link", string(c))
	}
	for _, r := range datapath.Reasons() {
		add("datapath", r.Info().Code)
	}
}
