// Package reasons checks what the program says "no" with: docs/reasons.md has every code, no two things have one code,
// and each reason is said by something.
package reasons

import (
	"fmt"
	"os"
	"strings"
	"testing"

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
	case reason.Use:
		return "Devices, as `run` and `status` decide"
	case reason.XDP:
		return "XDP on a device"
	case reason.Carried:
		return "Packets that the fast path carries"
	case reason.Slow:
		return "Packets, before the fast path looks them up"
	case reason.Entry:
		return "Packets, when the fast path looks them up"
	case reason.Seen:
		return "Packets that the kernel forwarded"
	default:
		return s.String()
	}
}

// counted ends the introductions of what the programs say.
const counted = " `status` counts them, `why` names the last one of a flow."

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
	case reason.Use:
		return "Why a device is not used, or not at XDP. `status` and `why` say it in words of the device."
	case reason.XDP:
		return "Why a device's frames are not looked up at XDP, or not sent by XDP. `status` and `why` say it in words of the device."
	case reason.Carried:
		return "What packets have in common that need no reason. `status` counts them by hook."
	case reason.Slow:
		return "What arrived is for the kernel." + counted
	case reason.Entry:
		return "What the flow's entry says, or that there is none." + counted
	case reason.Seen:
		return "What the fast path learned from a packet, or why it learned nothing." + counted
	default:
		return ""
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
}
