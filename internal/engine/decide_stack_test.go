package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
)

// machine reads devices, one a line: name, kind, and key=value for what stands under or over it. Indexes count from 2.
func machine(t *testing.T, text string) []engine.Link {
	t.Helper()
	var out []engine.Link
	kinds := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		l := engine.Link{Name: f[0], Kind: f[1], Ethernet: true, Ifindex: uint32(len(out) + 2)}
		switch f[1] {
		case "nic":
			l = enginetest.NIC(f[0])
			l.Ifindex = uint32(len(out) + 2)
		case "ppp", "wireguard", "ipip":
			l.Ethernet, l.PointToPoint = false, true
		}
		for _, o := range f[2:] {
			key, value, _ := strings.Cut(o, "=")
			switch key {
			case "on":
				l.Lower = value
			case "master":
				l.Master = value
			case "id":
				n, err := strconv.ParseUint(value, 10, 12)
				if err != nil {
					t.Fatal(err)
				}
				l.VLAN, l.VLANProtocol = uint16(n), "802.1Q"
			case "filtering":
				l.Filtering = true
			case "filter":
				l.Filters = []string{"tcx ingress program " + value}
			case "xdp":
				l.XDPPrograms = []string{"generic XDP program " + value}
			case "qdisc":
				l.Qdisc = value
			default:
				t.Fatalf("what is %q?", o)
			}
		}
		kinds[l.Name] = l.Kind
		out = append(out, l)
	}
	for i := range out {
		out[i].MasterKind = kinds[out[i].Master]
	}
	return out
}

// said renders decisions, a line each: "br0: tc on r0 r2[off: netdev-chain]".
func said(ds []engine.Decision) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "%s: %s", d.Name, d.Hook)
		if len(d.On) == 0 {
			fmt.Fprintf(&b, " %s", d.Reason.Code)
		} else {
			b.WriteString(" on")
		}
		for _, p := range d.On {
			b.WriteString(" " + p.Name)
			for i, t := range p.Tags {
				fmt.Fprintf(&b, "%c%d", "/."[min(i, 1)], t.ID)
			}
			if p.Hook == engine.Off {
				fmt.Fprintf(&b, "[off: %s]", p.Reason.Code)
			}
		}
		for _, u := range d.Slow {
			fmt.Fprintf(&b, " but not %s[%s]", u.Name, u.Reason.Code)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// asked renders what the datapath gets: "2 r0 tc labels 127 under stack 2".
func asked(want engine.Desired) string {
	var b strings.Builder
	for _, d := range want.Devices {
		fmt.Fprintf(&b, "%d %s ", d.Ifindex, d.Name)
		if d.Above {
			b.WriteString("above")
		} else {
			b.WriteString(string(d.Hook))
		}
		for _, x := range []struct {
			on   bool
			word string
		}{{d.Bare, "bare"}, {d.Refused, "refused"}, {d.Under, "under"}, {d.Flowtable, "flowtable"}} {
			if x.on {
				b.WriteString(" " + x.word)
			}
		}
		fmt.Fprintf(&b, " labels %s stack %d\n", d.Labels, d.Stack)
	}
	return b.String()
}

func unindent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// tables reads flowtables: "r0 r1" is lowered with label 127, a second one after ";" has 126; "kernel:" in front makes
// it the kernel's.
func tables(text string) handover.Ruleset {
	var r handover.Ruleset
	for i, devices := range strings.Split(text, ";") {
		f := handover.Flowtable{Family: "inet", Table: "filter", Name: fmt.Sprintf("f%d", i), Lowered: true, Labels: handover.Label(127 - i)}
		if rest, ok := strings.CutPrefix(strings.TrimSpace(devices), "kernel:"); ok {
			f.Lowered, f.Labels, devices = false, handover.Labels{}, rest
		}
		f.Devices = strings.Fields(devices)
		r.Flowtables = append(r.Flowtables, f)
	}
	return r
}

func TestPlacesOfStackedDevices(t *testing.T) {
	for _, c := range []struct {
		name, links, tables, said, asked string
	}{
		{
			"vlan", `
				r0 nic
				r1 nic
				r0.10 vlan on=r0 id=10`,
			"r0.10 r1", `
				r0.10: xdp on r0/10
				r1: xdp on r1`, `
				2 r0 xdp under labels 127 stack 2
				3 r1 xdp labels 127 stack 3
				4 r0.10 above labels 127 stack 2`,
		}, {
			"a second vlan on the same device is not meant", `
				r0 nic
				r0.10 vlan on=r0 id=10
				r0.20 vlan on=r0 id=20`,
			"r0.10", `
				r0.10: xdp on r0/10`, `
				2 r0 xdp under labels 127 stack 2
				3 r0.10 above labels 127 stack 2`,
		}, {
			"the device below two vlans is listed, and one of them elsewhere", `
				r0 nic
				r0.10 vlan on=r0 id=10
				r0.20 vlan on=r0 id=20`,
			"r0; kernel:r0.20", `
				r0: xdp on r0
				r0.20: xdp on r0/20`, `
				2 r0 xdp flowtable labels 127 stack 2
				3 r0.10 above labels 127 stack 2
				4 r0.20 above flowtable labels 127 stack 2`,
		}, {
			"QinQ, and a third tag", `
				r0 nic
				s vlan on=r0 id=100
				c vlan on=s id=10
				x vlan on=c id=7`,
			"c x", `
				c: xdp on r0/100.10
				x: off on s/10.7[off: too-many-tags]`, `
				2 r0 xdp under labels 127 stack 2
				4 c above labels 127 stack 2`,
		}, {
			"bridge", `
				r0 veth master=br0
				r2 veth master=br0
				br0 bridge
				r1 veth`,
			"br0 r1", `
				br0: tc on r0 r2
				r1: tc on r1`, `
				2 r0 tc under labels 127 stack 2
				3 r2 tc under labels 127 stack 2
				4 br0 above labels 127 stack 2
				5 r1 tc labels 127 stack 5`,
		}, {
			"port of a bridge, and what is above", `
				r0 veth master=br0
				r2 veth master=br0
				br0 bridge
				br0.10 vlan on=br0 id=10`,
			"r0", `
				r0: tc on r0`, `
				2 r0 tc labels 127 stack 2
				4 br0 above labels 127 stack 2
				5 br0.10 above labels 127 stack 2`,
		}, {
			"vlan on a bridge: the bridge itself is not meant", `
				r0 nic master=br0
				r2 nic master=br0
				br0 bridge
				br0.10 vlan on=br0 id=10`,
			"br0.10", `
				br0.10: xdp on r0/10 r2/10`, `
				2 r0 xdp under labels 127 stack 2
				3 r2 xdp under labels 127 stack 2
				5 br0.10 above labels 127 stack 2`,
		}, {
			"vlan on a bridge that filters: ports differ in tags", `
				r0 nic master=br0
				br0 bridge filtering
				br0.10 vlan on=br0 id=10`,
			"br0.10", `
				br0.10: xdp on r0`, `
				2 r0 xdp under labels 127 stack 2
				4 br0.10 above labels 127 stack 2`,
		}, {
			"bridge over a vlan, a bond and a bond's vlan", `
				e0 nic master=bond0
				e1 nic master=bond0
				bond0 bond
				bond0.5 vlan on=bond0 id=5 master=br0
				r0 nic
				r0.10 vlan on=r0 id=10 master=br0
				t0 team master=br0
				br0 bridge`,
			"br0", `
				br0: xdp on bond0/5 r0/10 t0`, `
				4 bond0 tc under labels 127 stack 2
				6 r0 xdp under labels 127 stack 2
				8 t0 tc under labels 127 stack 2
				9 br0 above labels 127 stack 2`,
		}, {
			"a port that is no use does not keep the others off", `
				r0 nic master=br0
				iv ipvlan master=br0
				r2 nic master=br0 filter=theirs
				br0 bridge`,
			"br0", `
				br0: xdp on r0 iv[off: stacked-device] r2[off: foreign-tc-filter]`, `
				2 r0 xdp under labels 127 stack 2
				4 r2 tc refused under labels 127 stack 2
				5 br0 above labels 127 stack 2`,
		}, {
			"bond and its port", `
				e0 nic master=bond0
				bond0 bond`,
			"bond0 e0", `
				bond0: tc on bond0
				e0: off on e0[off: port]`, `
				3 bond0 tc labels 127 stack 2`,
		}, {
			"vlan on the port of a bond", `
				e0 nic master=bond0
				bond0 bond
				e0.3 vlan on=e0 id=3`,
			"e0.3", `
				e0.3: off on e0/3[off: port]`, ``,
		}, {
			"vrf and its members", `
				r0 nic master=red
				r2 nic
				r2.10 vlan on=r2 id=10 master=red
				wg0 wireguard master=red
				red vrf`,
			"r0 r2.10 wg0 red", `
				r0: xdp on r0
				r2.10: xdp on r2/10
				red: off vrf
				wg0: tc on wg0`, `
				2 r0 xdp labels 127 stack 2
				3 r2 xdp under labels 127 stack 2
				4 r2.10 above labels 127 stack 2
				5 wg0 tc bare labels 127 stack 2
				6 red above labels 127 stack 2`,
		}, {
			"devices without Ethernet", `
				ppp0 ppp
				wg0 wireguard
				ip0 ipip`,
			"ppp0 wg0 ip0", `
				ip0: tc on ip0
				ppp0: tc on ppp0
				wg0: tc on wg0`, `
				2 ppp0 tc bare labels 127 stack 2
				3 wg0 tc bare labels 127 stack 3
				4 ip0 tc bare labels 127 stack 4`,
		}, {
			"macvlan on a device that is not used", `
				r0 nic
				mv0 macvlan on=r0
				mv0.10 vlan on=mv0 id=10`,
			"mv0.10", `
				mv0.10: tc on mv0/10`, `
				3 mv0 tc under labels 127 stack 2
				4 mv0.10 above labels 127 stack 2`,
		}, {
			"macvlan on a device that is used by its vlan", `
				r0 nic
				r0.10 vlan on=r0 id=10
				mv0 macvlan on=r0`,
			"mv0 r0.10", `
				mv0: off on mv0[off: stacked-device]
				r0.10: xdp on r0/10`, `
				2 r0 xdp under labels 127 stack 2
				3 r0.10 above labels 127 stack 2`,
		}, {
			"switch ports, and what carries their frames", `
				eth0 nic
				lan1 dsa on=eth0 master=br0
				lan2 dsa on=eth0 master=br0
				br0 bridge`,
			"br0 eth0", `
				br0: tc on lan1 lan2
				eth0: off on eth0[off: stacked-device]`, `
				3 lan1 tc under labels 127 stack 2
				4 lan2 tc under labels 127 stack 2
				5 br0 above labels 127 stack 2`,
		}, {
			"something on the vlan", `
				r0 nic
				r0.10 vlan on=r0 id=10 filter=theirs
				r0.20 vlan on=r0 id=20`,
			"r0.10 r0.20", `
				r0.10: off on r0/10[off: foreign-tc-filter]
				r0.20: xdp on r0/20`, `
				2 r0 xdp under labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2
				4 r0.20 above labels 127 stack 2`,
		}, {
			"something on the vlan, of which only the device below is listed", `
				r0 nic
				r0.10 vlan on=r0 id=10 filter=theirs
				q vlan on=r0.10 id=20`,
			"r0", `
				r0: xdp on r0 but not r0.10[foreign-tc-filter] but not q[foreign-tc-filter]`, `
				2 r0 xdp labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2
				4 q above refused labels 127 stack 2`,
		}, {
			"something on the only vlan that is listed", `
				r0 nic
				r0.10 vlan on=r0 id=10 filter=theirs`,
			"r0.10", `
				r0.10: off on r0/10[off: foreign-tc-filter]`, `
				2 r0 tc refused under labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2`,
		}, {
			"something on the device below", `
				r0 nic filter=theirs
				r0.10 vlan on=r0 id=10`,
			"r0.10", `
				r0.10: off on r0/10[off: foreign-tc-filter]`, `
				2 r0 tc refused under labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2`,
		}, {
			"something on the bridge, and a vlan beside it", `
				r0 nic master=br0
				r2 nic master=br0
				br0 bridge filter=theirs
				br0.10 vlan on=br0 id=10
				r0.5 vlan on=r0 id=5`,
			"br0.10 r0.5", `
				br0.10: off on r0/10[off: foreign-tc-filter] r2/10[off: foreign-tc-filter]
				r0.5: xdp on r0/5`, `
				2 r0 xdp under labels 127 stack 2
				3 r2 tc refused under labels 127 stack 2
				5 br0.10 above refused labels 127 stack 2
				6 r0.5 above labels 127 stack 2`,
		}, {
			"a bridge of which one way is not free, and ends where others are", `
				r0 nic
				r0.10 vlan on=r0 id=10 filter=theirs master=br0
				r2 nic master=br0
				br0 bridge`,
			"r0 br0", `
				br0: off on r0/10[off: foreign-tc-filter] r2[off: foreign-tc-filter]
				r0: xdp on r0 but not r0.10[foreign-tc-filter]`, `
				2 r0 xdp labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2
				4 r2 tc refused under labels 127 stack 2
				5 br0 above refused labels 127 stack 2`,
		}, {
			"the same, and the end is used by nobody else", `
				r0 nic
				r0.10 vlan on=r0 id=10 filter=theirs master=br0
				r2 nic master=br0
				br0 bridge`,
			"br0", `
				br0: xdp on r0/10[off: foreign-tc-filter] r2`, `
				2 r0 tc refused under labels 127 stack 2
				4 r2 xdp under labels 127 stack 2
				5 br0 above labels 127 stack 2`,
		}, {
			"something on the only listed device, and vlans above", `
				r0 nic filter=theirs
				r0.10 vlan on=r0 id=10`,
			"r0", `
				r0: off on r0[off: foreign-tc-filter] but not r0.10[foreign-tc-filter]`, `
				2 r0 tc refused labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2`,
		}, {
			"one port of a bridge is listed, another is used for its vlan", `
				r0 nic master=br0
				r2 nic master=br0
				r2.5 vlan on=r2 id=5
				br0 bridge`,
			"r0 r2.5", `
				r0: xdp on r0 but not br0[not-listed]
				r2.5: xdp on r2/5`, `
				2 r0 xdp labels 127 stack 2
				3 r2 xdp under labels 127 stack 2
				4 r2.5 above labels 127 stack 2`,
		}, {
			"programs and qdiscs matter only where packets do not pass", `
				r0 nic xdp=theirs qdisc=htb
				r0.10 vlan on=r0 id=10 qdisc=htb
				r0.20 vlan on=r0 id=20
				r2 nic master=br0
				br0 bridge xdp=theirs`,
			"r0.10 r0.20 br0", `
				br0: off on r2[off: foreign-xdp-above]
				r0.10: off on r0/10[off: qdisc-above]
				r0.20: xdp on r0/20`, `
				2 r0 xdp under labels 127 stack 2
				3 r0.10 above refused labels 127 stack 2
				4 r0.20 above labels 127 stack 2
				5 r2 tc refused under labels 127 stack 5
				6 br0 above refused labels 127 stack 5`,
		}, {
			"something on the port of a bond is passed by slow and fast packets", `
				e0 nic master=bond0 filter=theirs
				bond0 bond`,
			"bond0", `
				bond0: tc on bond0`, `
				3 bond0 tc labels 127 stack 2`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := engine.View{Ruleset: tables(c.tables), Links: machine(t, c.links)}
			ds, want := engine.Decide(v, nil)
			if got := said(ds); got != unindent(c.said) {
				t.Errorf("decided\n%s\nwant\n%s", got, unindent(c.said))
			}
			if got := asked(want); got != unindent(c.asked) {
				t.Errorf("asked for\n%s\nwant\n%s", got, unindent(c.asked))
			}
		})
	}
}
