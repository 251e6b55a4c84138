package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
)

func netdev(hook, device string) handover.Chain {
	return handover.Chain{Family: "netdev", Table: "guard", Name: "c", Hook: hook, Devices: []string{device}, Rules: 1}
}

func bridge(hook string) handover.Chain {
	return handover.Chain{Family: "bridge", Table: "l2", Name: "c", Hook: hook, Rules: 1}
}

func TestChainsAndFiltersAreNamedWhereverTheyAre(t *testing.T) {
	const links = `
		r0 nic master=br0
		r2 nic master=br0
		br0 bridge
		br0.10 vlan on=br0 id=10
		r1 nic
		r1.20 vlan on=r1 id=20`
	for name, c := range map[string]struct {
		chain handover.Chain
		said  string
		text  string // of the reasons of br0.10 and r1.20, together
	}{
		"ingress on a port": {netdev("ingress", "r2"), `
			br0.10: xdp on r0/10 r2/10[off: netdev-chain]
			r1.20: xdp on r1/20`, "the ingress chain netdev guard c on r2"},
		"egress on the bridge": {netdev("egress", "br0"), `
			br0.10: off on r0/10[off: netdev-chain] r2/10[off: netdev-chain]
			r1.20: xdp on r1/20`, "the egress chain netdev guard c on br0"},
		"on all that begin with br0.": {netdev("ingress", "br0.*"), `
			br0.10: off on r0/10[off: netdev-chain] r2/10[off: netdev-chain]
			r1.20: xdp on r1/20`, "the ingress chain netdev guard c on br0.10"},
		"on a vlan": {netdev("ingress", "r1.20"), `
			br0.10: xdp on r0/10 r2/10
			r1.20: off on r1/20[off: netdev-chain]`, "the ingress chain netdev guard c on r1.20"},
		"family bridge": {bridge("prerouting"), `
			br0.10: off on r0/10[off: bridge-chain] r2/10[off: bridge-chain]
			r1.20: xdp on r1/20`, "the prerouting chain bridge l2 c of the bridge br0"},
		"family bridge, which routed packets do not pass": {bridge("forward"), `
			br0.10: xdp on r0/10 r2/10
			r1.20: xdp on r1/20`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := tables("br0.10 r1.20")
			r.Chains = []handover.Chain{c.chain}
			ds, _ := engine.Decide(engine.View{Ruleset: r, Links: machine(t, links)}, nil)
			if got := said(ds); got != unindent(c.said) {
				t.Errorf("decided\n%s\nwant\n%s", got, unindent(c.said))
			}
			var texts strings.Builder
			for _, d := range ds {
				for _, r := range d.Reasons() {
					texts.WriteString(r.Text + "\n")
				}
			}
			if !strings.Contains(texts.String(), c.text) || (c.text == "") != (texts.Len() == 0) {
				t.Errorf("reasons %q, want %q", texts.String(), c.text)
			}
		})
	}
}

func TestChoicesForStackedDevices(t *testing.T) {
	const links = `
		r0 nic master=br0
		r2 nic master=br0
		t0 team master=br0
		br0 bridge
		br0.10 vlan on=br0 id=10
		r1 nic
		r1.20 vlan on=r1 id=20`
	for _, c := range []struct {
		choices, said, refused string
	}{
		{"br0.10=tc", `
			br0.10: tc on r0/10 r2/10 t0/10
			r1.20: xdp on r1/20`, ""},
		{"br0.10=tc r2=xdp", `
			br0.10: xdp on r0/10 r2/10 t0/10
			r1.20: xdp on r1/20`, ""},
		{"br0.10=off", `
			br0.10: off off-by-user
			r1.20: xdp on r1/20`, ""},
		{"br0=off", `
			br0.10: off on r0/10[off: off-by-user] r2/10[off: off-by-user] t0/10[off: off-by-user]
			r1.20: xdp on r1/20`, ""},
		{"r0=off", `
			br0.10: xdp on r0/10[off: off-by-user] r2/10 t0/10
			r1.20: xdp on r1/20`, ""},
		{"r1=tc", `
			br0.10: xdp on r0/10 r2/10 t0/10
			r1.20: tc on r1/20`, ""},
		{"br0.10=xdp", `
			br0.10: xdp on r0/10 r2/10 t0/10[off: tc-only]
			r1.20: xdp on r1/20`, "--device br0.10=xdp"},
		{"t0=xdp", `
			br0.10: xdp on r0/10 r2/10 t0/10[off: tc-only]
			r1.20: xdp on r1/20`, "--device t0=xdp"},
	} {
		t.Run(c.choices, func(t *testing.T) {
			choices := engine.Choices{}
			for s := range strings.FieldsSeq(c.choices) {
				if err := choices.Set(s); err != nil {
					t.Fatal(err)
				}
			}
			v := engine.View{Ruleset: tables("br0.10 r1.20"), Links: machine(t, links)}
			ds, err := engine.Check(v, choices)
			if got := said(ds); got != unindent(c.said) {
				t.Errorf("decided\n%s\nwant\n%s", got, unindent(c.said))
			}
			var refused *engine.DeviceError
			if errors.As(err, &refused) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("error %v, want %q", err, c.refused)
			}
			_, want := engine.Decide(v, choices)
			for _, d := range want.Devices {
				if choices[d.Name] == engine.Off || d.Refused {
					t.Errorf("the datapath is asked for %+v", d)
				}
			}
		})
	}
}

func TestNameWithAsteriskMeansAllDevicesThatBeginSo(t *testing.T) {
	v := engine.View{Ruleset: tables("r* wan*"), Links: machine(t, `
		r0 nic
		r1 nic
		x nic`)}
	ds, _ := engine.Decide(v, nil)
	if got, want := said(ds), "r0: xdp on r0\nr1: xdp on r1\nwan*: off no-device\n"; got != want {
		t.Errorf("decided\n%s\nwant\n%s", got, want)
	}
}

// A reading that is not of one moment may show anything.
func TestDevicesThatStandOnThemselvesEndSomewhere(t *testing.T) {
	for _, links := range []string{
		`
		a vlan on=b id=1
		b vlan on=a id=2`, `
		a bridge master=b
		b bridge master=a`, `
		a bridge master=a`, `
		a vlan on=a id=1`, `
		a vlan on=gone id=1`, `
		a nic master=gone`,
	} {
		v := engine.View{Ruleset: tables("a b"), Links: machine(t, links)}
		if ds, _ := engine.Decide(v, nil); len(ds) != 2 {
			t.Errorf("%s: decided %s", links, said(ds))
		}
	}
}
