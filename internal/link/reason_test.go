package link

import (
	"strings"
	"testing"
)

func TestReasonsOfDevicesThisMachineLacks(t *testing.T) {
	nic := func(change func(*Device)) Device {
		d := Device{
			Name: "eth0", ARPHRD: 1, Driver: "ice", Parent: "0000:01:00.0",
			XDP:      XDPFeatures{Known: true, Bits: XDPBasic | XDPRedirect | XDPNdoXmit},
			Features: map[string]Feature{RxVLAN: {}, LRO: {}},
		}
		change(&d)
		return d
	}
	veth := func(uppers ...Upper) Device {
		return nic(func(d *Device) { d.Kind, d.Parent, d.Name, d.Uppers = "veth", "", "r0", uppers })
	}
	for name, c := range map[string]struct {
		device          Device
		capable, target Code
	}{
		"nic":                   {nic(func(*Device) {}), "", ""},
		"rxvlan on":             {nic(func(d *Device) { d.Features[RxVLAN] = Feature{On: true} }), RxVLANOn, ""},
		"rxvlan fixed on":       {nic(func(d *Device) { d.Features[RxVLAN] = Feature{On: true, Fixed: true} }), RxVLANFixed, ""},
		"lro on":                {nic(func(d *Device) { d.Features[LRO] = Feature{On: true} }), LROOn, ""},
		"driver without xdp":    {nic(func(d *Device) { d.XDP.Bits = 0 }), NoNativeXDP, TargetNotSupported},
		"no redirect":           {nic(func(d *Device) { d.XDP.Bits = XDPBasic | XDPNdoXmit }), NoNativeXDP, ""},
		"no ndo_xdp_xmit":       {nic(func(d *Device) { d.XDP.Bits = XDPBasic | XDPRedirect }), "", TargetNotSupported},
		"before linux 6.3":      {nic(func(d *Device) { d.XDP = XDPFeatures{} }), "", TargetUnknown},
		"vlan above a nic":      {nic(func(d *Device) { d.Uppers = []Upper{{Kind: "vlan"}} }), "", ""},
		"cake":                  {nic(func(d *Device) { d.Qdisc = Qdisc{Root: "cake", Shaper: "cake"} }), "", QdiscShapes},
		"bond port":             {nic(func(d *Device) { d.Master = &Upper{Kind: "bond"} }), "", ""},
		"ppp":                   {Device{Name: "ppp0", ARPHRD: 512}, NotEthernet, NotEthernet},
		"vlan device":           {nic(func(d *Device) { d.Kind = "vlan" }), NotPhysical, ""},
		"tap":                   {nic(func(d *Device) { d.Kind, d.Parent = "tun", "" }), NotPhysical, ""},
		"no parent":             {nic(func(d *Device) { d.Parent = "" }), NotPhysical, ""},
		"veth":                  {veth(), "", ""},
		"veth under a vlan":     {veth(Upper{Name: "r0.10", Kind: "vlan"}), VLANAbove, ""},
		"veth, vlan on bridge":  {veth(Upper{Name: "br0", Kind: "bridge"}, Upper{Name: "br0.10", Kind: "vlan"}), VLANAbove, ""},
		"veth, filtering":       {veth(Upper{Name: "br0", Kind: "bridge", VLANFiltering: true}), VLANAbove, ""},
		"veth under a macvlan":  {veth(Upper{Name: "mv0", Kind: "macvlan"}), "", ""},
		"veth before linux 6.3": {nic(func(d *Device) { d.Kind, d.XDP = "veth", XDPFeatures{} }), "", TargetUnknown},
	} {
		for what, got := range map[string]Reason{"capable": c.device.XDPCapable(), "target": c.device.XDPTarget()} {
			want := c.capable
			if what == "target" {
				want = c.target
			}
			if got.Code != want || got.OK() != (want == "") {
				t.Errorf("%s: %s: %s, want %q", name, what, got, want)
			}
			if !got.OK() && (got.Text == "" || !strings.Contains(got.Text, c.device.Name)) {
				t.Errorf("%s: %s: %q does not name the device", name, what, got.Text)
			}
		}
	}
}

func TestCodesAreUnique(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c] || !strings.HasPrefix(string(c), "xdp-") {
			t.Errorf("code %q", c)
		}
		seen[c] = true
	}
}

func TestUppersWalkThroughBridgesAndVLANs(t *testing.T) {
	// br0.10 and br0.20 on br0 on r0; vx is a tunnel that leaves by r0; r0's veth peer v is in the same namespace.
	links := []linkMsg{
		{ifindex: 1, name: "r0", kind: "veth", lower: 6, master: 2},
		{ifindex: 2, name: "br0", kind: "bridge", vlanFiltering: true},
		{ifindex: 3, name: "br0.10", kind: "vlan", lower: 2},
		{ifindex: 4, name: "br0.20", kind: "vlan", lower: 2},
		{ifindex: 5, name: "vx", kind: "ipip", lower: 1},
		{ifindex: 6, name: "v", kind: "veth", lower: 1},
	}
	var got []string
	for _, u := range newTree(links).uppers(links[0]) {
		got = append(got, u.Name)
	}
	if s := strings.Join(got, " "); s != "br0 br0.10 br0.20" {
		t.Errorf("above r0: %q", s)
	}
	if us := newTree(links).uppers(links[2]); us != nil {
		t.Errorf("above br0.10: %v", us)
	}
}
