package caps_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/caps"
)

// page compares a page of docs with what the code says; UPDATE_DOCS=1 writes it.
func page(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the code says (-code +page); UPDATE_DOCS=1 writes it:\n%s", path, diff)
	}
}

func TestDriversPageIsTheTableOfProfiles(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What drivers do with rules and flows

No kernel interface tells which matches and actions a driver takes in hardware, or whether it takes flowtables. This was
read in the drivers' sources (the version is in the last column) and is what ` + "`plan` and `doctor`" + ` go by; what a device
says itself (XDP features, hw-tc-offload) comes first. ` + "`plan --caps NAME`" + ` plans for a machine with such devices,
` + "`doctor --probe`" + ` asks the driver. Keys, conditions and files are in
[profiles.txt](../internal/caps/testdata/profiles.txt).

Rules: ` + "`flags offload`" + ` of netdev chains. Flows: ` + "`flags offload`" + ` of flowtables. CT: flows of tc's act_ct, which are
not those of nftables.

| profile | devices | rules | actions | flows | CT | XDP | Linux |
|---|---|---|---|---|---|---|---|
`)
	for _, p := range caps.Profiles() {
		fmt.Fprintf(&b, "| %s | %s | %s: %s | %s | %s | %s | %s | %s |\n", p.Name, p.Title, p.Chain, p.WhyChain,
			or(p.Actions.String(), "none"), p.Flowtable, p.Conntrack, p.XDP, p.Kernel.Number())
	}
	page(t, "../../docs/drivers.md", b.String())
}

func TestKernelBugsPageIsTheTableOfQuirks(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Kernel bugs that matter to offloading

` + "`doctor`" + ` and ` + "`plan`" + ` name those that the kernel has and that the machine or the ruleset can meet. Of kernels whose
release does not tell their stable version (6.8.0-45-generic, 5.14.0-427.el9) it is not known: distributions take fixes on
their own. Versions are those of the CVE's OSV record, unless the source says otherwise; lines that are missing were not
fixed.

| bug | what goes wrong | matters to | since | fixed in | besides another kernel | source |
|---|---|---|---|---|---|---|
`)
	for _, q := range caps.Quirks() {
		since := "not recorded"
		switch {
		case q.Doubt.Known() && q.Since.Known():
			since = fmt.Sprintf("%s, perhaps %s", q.Since.Number(), q.Doubt.Number())
		case q.Doubt.Known():
			since = "perhaps " + q.Doubt.Number()
		case q.Since.Known():
			since = q.Since.Number()
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", q.ID, q.Title, q.Scope, since, or(q.FixedIn(), "not recorded"),
			or(q.Remedy, "-"), q.Source)
	}
	page(t, "../../docs/kernel-bugs.md", b.String())
}
