package link

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/reason"
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
		capable, target reason.Reason
	}{
		"nic":                   {nic(func(*Device) {}), reason.None, reason.None},
		"rxvlan on":             {nic(func(d *Device) { d.Features[RxVLAN] = Feature{On: true} }), reason.XDPRxVLANOn, reason.None},
		"rxvlan fixed on":       {nic(func(d *Device) { d.Features[RxVLAN] = Feature{On: true, Fixed: true} }), reason.XDPRxVLANFixed, reason.None},
		"lro on":                {nic(func(d *Device) { d.Features[LRO] = Feature{On: true} }), reason.XDPLROOn, reason.None},
		"driver without xdp":    {nic(func(d *Device) { d.XDP.Bits = 0 }), reason.XDPNotSupported, reason.XDPTargetNotSupported},
		"no redirect":           {nic(func(d *Device) { d.XDP.Bits = XDPBasic | XDPNdoXmit }), reason.XDPNotSupported, reason.None},
		"no ndo_xdp_xmit":       {nic(func(d *Device) { d.XDP.Bits = XDPBasic | XDPRedirect }), reason.None, reason.XDPTargetNotSupported},
		"before linux 6.3":      {nic(func(d *Device) { d.XDP = XDPFeatures{} }), reason.None, reason.XDPTargetUnknown},
		"vlan above a nic":      {nic(func(d *Device) { d.Uppers = []Upper{{Kind: "vlan"}} }), reason.None, reason.None},
		"cake":                  {nic(func(d *Device) { d.Qdisc = Qdisc{Root: "cake", Shaper: "cake"} }), reason.None, reason.XDPQdiscShapes},
		"bond port":             {nic(func(d *Device) { d.Master = &Upper{Kind: "bond"} }), reason.None, reason.None},
		"ppp":                   {Device{Name: "ppp0", ARPHRD: 512}, reason.XDPNotEthernet, reason.XDPNotEthernet},
		"vlan device":           {nic(func(d *Device) { d.Kind = "vlan" }), reason.XDPNotPhysical, reason.None},
		"conduit of a switch":   {nic(func(d *Device) { d.Uppers = []Upper{{Name: "lan1", Kind: "dsa"}} }), reason.XDPNotPhysical, reason.None},
		"tap":                   {nic(func(d *Device) { d.Kind, d.Parent = "tun", "" }), reason.XDPNotPhysical, reason.None},
		"no parent":             {nic(func(d *Device) { d.Parent = "" }), reason.XDPNotPhysical, reason.None},
		"veth":                  {veth(), reason.None, reason.None},
		"veth under a vlan":     {veth(Upper{Name: "r0.10", Kind: "vlan"}), reason.XDPVLANAbove, reason.None},
		"veth, vlan on bridge":  {veth(Upper{Name: "br0", Kind: "bridge"}, Upper{Name: "br0.10", Kind: "vlan"}), reason.XDPVLANAbove, reason.None},
		"veth, filtering":       {veth(Upper{Name: "br0", Kind: "bridge", VLANFiltering: true}), reason.XDPVLANAbove, reason.None},
		"veth under a macvlan":  {veth(Upper{Name: "mv0", Kind: "macvlan"}), reason.None, reason.None},
		"veth before linux 6.3": {nic(func(d *Device) { d.Kind, d.XDP = "veth", XDPFeatures{} }), reason.None, reason.XDPTargetUnknown},
	} {
		for what, got := range map[string]Reason{"capable": c.device.XDPCapable(), "target": c.device.XDPTarget()} {
			want := c.capable
			if what == "target" {
				want = c.target
			}
			if got.Code != want || got.OK() != (want == reason.None) {
				t.Errorf("%s: %s: %s, want %s", name, what, got, want)
			}
			if !got.OK() && (got.Text == "" || !strings.Contains(got.Text, c.device.Name)) {
				t.Errorf("%s: %s: %q does not name the device", name, what, got.Text)
			}
		}
	}
}

func TestCodesOfXDPSaySo(t *testing.T) {
	for _, r := range reason.Of(reason.XDP) {
		if !strings.HasPrefix(r.Code(), "xdp-") {
			t.Errorf("code %q", r)
		}
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
