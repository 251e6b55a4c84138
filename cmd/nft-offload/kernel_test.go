package main

import (
	"bytes"
	"compress/gzip"
	"testing"
	"testing/fstest"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/link"
)

const release = "6.12.57+deb13-amd64"

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func packed(t *testing.T, s string) *fstest.MapFile {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func TestKernelIsReadFromWhatItsMachineHas(t *testing.T) {
	v, err := caps.ParseVersion(release)
	if err != nil {
		t.Fatal(err)
	}
	modules := "kernel/net/netfilter/nf_flow_table.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz\n"
	tests := []struct {
		name                   string
		files                  fstest.MapFS
		flowtable, flower, btf caps.Answer
		jit, kfuncs            caps.Answer
	}{
		{"nothing", fstest.MapFS{}, caps.Unknown, caps.Unknown, caps.Unknown, caps.Unknown, caps.Unknown},
		{
			"config.gz",
			fstest.MapFS{"proc/config.gz": packed(t, "CONFIG_NF_FLOW_TABLE=m\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_BPF_JIT=y\nCONFIG_NF_CONNTRACK=y\n")},
			caps.Yes, caps.No, caps.Yes, caps.Yes, caps.Yes,
		},
		{
			"config.gz that is none, and one in /boot",
			fstest.MapFS{"proc/config.gz": text("CONFIG_"), "boot/config-" + release: text("CONFIG_NET_CLS_FLOWER=m\n")},
			caps.No, caps.Yes, caps.No, caps.No, caps.No,
		},
		{
			"modules only",
			fstest.MapFS{"lib/modules/" + release + "/modules.dep": text(modules), "lib/modules/" + release + "/modules.builtin": text("kernel/lib/x.ko\n")},
			caps.Yes, caps.No, caps.Unknown, caps.Unknown, caps.Unknown,
		},
		{
			"what /proc and /sys show",
			fstest.MapFS{
				"sys/kernel/btf/vmlinux": text(""), "proc/sys/net/netfilter/nf_flowtable_tcp_timeout": text("30\n"),
				"proc/sys/net/core/bpf_jit_enable": text("1\n"), "proc/sys/net/netfilter/nf_conntrack_max": text("1\n"),
			},
			caps.Yes, caps.Unknown, caps.Yes, caps.Unknown, caps.Yes,
		},
		{
			"JIT built and off",
			fstest.MapFS{"proc/config.gz": packed(t, "CONFIG_BPF_JIT=y\n"), "proc/sys/net/core/bpf_jit_enable": text("0\n")},
			caps.No, caps.No, caps.No, caps.No, caps.No,
		},
	}
	for _, tt := range tests {
		k := readKernel(tt.files, v)
		got := []caps.Answer{k.Has(caps.OptFlowtable), k.Has(caps.OptClsFlower), k.Has(caps.OptBTF), k.Has(caps.OptBPFJIT), k.Has(caps.OptCTKfuncs)}
		want := []caps.Answer{tt.flowtable, tt.flower, tt.btf, tt.jit, tt.kfuncs}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", tt.name, got, want)
				break
			}
		}
	}
}

func TestPPPoESessionsNameTheDeviceBelow(t *testing.T) {
	const head = "Id       Address              Device\n"
	for in, want := range map[string]string{
		"":   "",
		head: "",
		head + "00000007 02:00:00:00:00:01      wan\n":                                       "wan",
		head + "00000007 02:00:00:00:00:01      wan\n00000008 02:00:00:00:00:01      wan\n":  "wan",
		head + "00000007 02:00:00:00:00:01      wan\n00000008 02:00:00:00:00:01      wan2\n": "",
	} {
		if got := pppoeBelow(fstest.MapFS{"proc/net/pppoe": text(in)}); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := pppoeBelow(fstest.MapFS{}); got != "" {
		t.Errorf("without the file: %q", got)
	}
}

func TestSysctlsThatAreNotThereAreUnknown(t *testing.T) {
	root := fstest.MapFS{"proc/sys/net/ipv4/ip_forward": text("1\n"), "proc/sys/net/ipv6/conf/all/forwarding": text("0\n")}
	if sysctl(root, "net/ipv4/ip_forward") != caps.Yes || sysctl(root, "net/ipv6/conf/all/forwarding") != caps.No || sysctl(root, "x") != caps.Unknown {
		t.Error("misread")
	}
	if either(caps.Yes, caps.Unknown) != caps.Yes || either(caps.No, caps.Unknown) != caps.Unknown || either(caps.No, caps.No) != caps.No {
		t.Error("either")
	}
}

// devices is a machine of package link: a bond with a VLAN, a DSA switch, a NIC in switchdev mode, PPPoE.
func devices() []link.Device {
	bond := link.Upper{Ifindex: 4, Name: "bond0", Kind: "bond"}
	vlan := link.Upper{Ifindex: 5, Name: "bond0.7", Kind: "vlan"}
	dsa := link.Upper{Ifindex: 7, Name: "lan1", Kind: "dsa"}
	return []link.Device{
		{
			Ifindex: 2, Name: "eth0", ARPHRD: 1, Driver: "igb", Parent: "0000:01:00.0", Master: &bond, Uppers: []link.Upper{bond, vlan},
			XDP:      link.XDPFeatures{Known: true, Bits: link.XDPBasic | link.XDPRxSG},
			Features: map[string]link.Feature{link.HWTCOffload: {On: true}, link.LRO: {Fixed: true}, link.RxVLAN: {On: true, Fixed: true}},
		},
		{Ifindex: 3, Name: "eth1", ARPHRD: 1, Driver: "igb", Master: &bond, Uppers: []link.Upper{bond, vlan}},
		{Ifindex: 4, Name: "bond0", ARPHRD: 1, Kind: "bond", Uppers: []link.Upper{vlan}},
		{Ifindex: 5, Name: "bond0.7", ARPHRD: 1, Kind: "vlan", Lower: 4, VLAN: 7, VLANProtocol: 0x8100},
		{Ifindex: 6, Name: "eth2", ARPHRD: 1, Uppers: []link.Upper{dsa}},
		{Ifindex: 7, Name: "lan1", ARPHRD: 1, Kind: "dsa", Lower: 6},
		{Ifindex: 8, Name: "p0", ARPHRD: 1, Driver: "mlx5_core", Parent: "0000:02:00.0", SwitchID: "0a", PortName: "p0"},
		{Ifindex: 9, Name: "vf3", ARPHRD: 1, Driver: "mlx5e_rep", Parent: "0000:02:00.0", SwitchID: "0a", PortName: "pf0vf3"},
		{Ifindex: 10, Name: "ppp0", ARPHRD: 512, Kind: "ppp"},
		{Ifindex: 11, Name: "v0", ARPHRD: 1, Kind: "veth", Lower: 12},
		{Ifindex: 12, Name: "v1", ARPHRD: 1, Kind: "veth", Lower: 11},
	}
}

func TestDevicesKeepTheirPlaceInTheStack(t *testing.T) {
	c := converter{
		names: map[uint32]string{}, all: devices(), pppoe: "eth1",
		devlink: link.Devlink{
			Eswitch: map[string]string{"0000:02:00.0": "switchdev"},
			Flavour: map[uint32]link.Flavour{8: link.FlavourPhysical, 9: link.FlavourVF},
		},
	}
	var m caps.Machine
	for _, d := range c.all {
		c.names[d.Ifindex] = d.Name
	}
	for _, d := range c.all {
		m.Devices = append(m.Devices, c.device(d, link.Detail{Speed: 1000}))
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, lower, profile string
		role                 caps.Role
	}{
		{"eth0", "", "igb", ""},
		{"bond0", "eth0 eth1", "bond", ""},
		{"bond0.7", "bond0", "vlan", ""},
		{"eth2", "", "", caps.RoleConduit},
		{"lan1", "", "dsa-port", caps.RoleDSAPort},
		{"p0", "", "mlx5-uplink", caps.RoleUplink},
		{"vf3", "", "mlx5-representor", caps.RoleRepresentor},
		{"ppp0", "eth1", "", ""},
		{"v0", "", "veth", ""},
	}
	for _, tt := range tests {
		d, _ := m.Device(tt.name)
		p, _ := caps.ProfileOf(d)
		lower := ""
		for i, l := range d.Lower {
			if i > 0 {
				lower += " "
			}
			lower += l
		}
		if lower != tt.lower || p.Name != tt.profile || d.Switch.Role != tt.role {
			t.Errorf("%s: on %q, profile %q, role %q; want %+v", tt.name, lower, p.Name, d.Switch.Role, tt)
		}
	}
	d, _ := m.Device("eth0")
	if d.HWTCOffload != caps.On || d.LRO != caps.OffFixed || d.RxVLAN != caps.OnFixed || d.XDP.Has(caps.XDPRxSG) != caps.Yes || d.Speed != 1000 {
		t.Errorf("%+v", d)
	}
	if v, _ := m.Device("v0"); v.Peer != "v1" {
		t.Errorf("the other end of v0 is %q", v.Peer)
	}
	if l, _ := m.Device("lan1"); l.Switch.Conduit != "eth2" {
		t.Errorf("the conduit of lan1 is %q", l.Switch.Conduit)
	}
}
