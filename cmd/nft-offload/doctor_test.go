package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/caps/doctor"
)

// fakes are machines that are not at hand, by the name of the file with their diagnosis.
func fakes(t *testing.T) map[string]doctor.Input {
	t.Helper()
	return map[string]doctor.Input{
		"home-router": homeRouter(t), "datacenter": dataCenter(t), "too-old": tooOld(t), "healthy": healthyRouter(t),
	}
}

// built is a kernel with all options but some.
func built(t *testing.T, release string, without ...caps.Option) caps.Kernel {
	t.Helper()
	v, err := caps.ParseVersion(release)
	if err != nil {
		t.Fatal(err)
	}
	k := caps.Kernel{Version: v, Options: map[caps.Option]caps.Answer{}}
	for _, o := range caps.Options() {
		k.Options[o] = caps.Yes
	}
	for _, o := range without {
		k.Options[o] = caps.No
	}
	return k
}

// homeRouter is OpenWrt on MT7986 with a DSA switch and PPPoE; its kernel has no BTF.
func homeRouter(t *testing.T) doctor.Input {
	t.Helper()
	port := func(name string, index uint32) caps.Device {
		return caps.Device{
			Name: name, Ifindex: index, Kind: "dsa", Driver: "dsa", Type: "ether", Speed: 1000, Up: true, Carrier: true,
			Master: "br-lan", Uppers: []string{"br-lan"}, Switch: caps.Switch{Role: caps.RoleDSAPort, Conduit: "eth0", PortName: "p1"},
			XDP: caps.XDP{Known: true}, HWTCOffload: caps.On,
		}
	}
	return doctor.Input{
		Machine: caps.Machine{
			Kernel: built(t, "6.18.38", caps.OptBTF, caps.OptCTKfuncs, caps.OptXDPFlowLookup, caps.OptNetdevsim), NFT: "1.1.6", TC: "6.15.0", CPUs: 4,
			Forwarding: caps.Yes, Accounting: caps.No, BPFFS: caps.No,
			Devices: []caps.Device{
				{Name: "lo", Ifindex: 1, Type: "loopback", Up: true, Carrier: true},
				{
					Name: "eth0", Ifindex: 2, Driver: "mtk_soc_eth", Bus: "15100000.ethernet", Type: "ether", Speed: 2500, Up: true,
					Carrier: true, Uppers: []string{"lan1", "br-lan"}, Switch: caps.Switch{Role: caps.RoleConduit}, HWTCOffload: caps.On,
					XDP: caps.XDP{Known: true, Features: []caps.XDPFeature{caps.XDPBasic, caps.XDPRedirect, caps.XDPNdoXmit}},
				},
				port("lan1", 3), port("lan2", 4),
				{Name: "wan", Ifindex: 5, Driver: "mtk_soc_eth", Bus: "15100000.ethernet", Type: "ether", Speed: 1000, Up: true, Carrier: true, Uppers: []string{"pppoe-wan"}, HWTCOffload: caps.On},
				{Name: "br-lan", Ifindex: 6, Kind: "bridge", Driver: "bridge", Type: "ether", Up: true, Carrier: true, Lower: []string{"lan1", "lan2"}, HWTCOffload: caps.OffFixed},
				{Name: "pppoe-wan", Ifindex: 7, Kind: "ppp", Driver: "ppp", Type: "ppp", Up: true, Carrier: true, Lower: []string{"wan"}},
			},
		},
		Fast: map[string]doctor.Fast{
			"eth0": {Hook: "off", Code: "stacked", Text: "eth0 carries the frames of the switch port lan1, with the switch's own tags", Advice: "list the switch ports in the flowtable"},
			"lan1": {Hook: "tc", Code: "tc-only", Text: "lan1 is a dsa device"}, "lan2": {Hook: "tc", Code: "tc-only", Text: "lan2 is a dsa device"},
			"wan": {Hook: "xdp"}, "pppoe-wan": {Hook: "tc", Code: "tc-only", Text: "packets of pppoe-wan have no Ethernet header"},
			"br-lan": {Hook: "tc", On: []string{"lan1 (tc)", "lan2 (tc)"}},
		},
	}
}

// dataCenter is a gateway with a ConnectX in legacy mode, on Debian, where several things are in the way.
func dataCenter(t *testing.T) doctor.Input {
	t.Helper()
	nic := caps.Device{
		Name: "enp1s0f0np0", Ifindex: 2, Driver: "mlx5_core", Firmware: "16.35.2000", Bus: "0000:01:00.0", Type: "ether", Speed: 25000,
		MAC: "02:00:00:00:00:01", MTU: 1500, Up: true, Carrier: true, Eswitch: caps.EswitchLegacy,
		XDP:         caps.XDP{Known: true, Features: []caps.XDPFeature{caps.XDPBasic, caps.XDPRedirect, caps.XDPNdoXmit, caps.XDPZeroCopy, caps.XDPRxSG}},
		HWTCOffload: caps.Off, RxVLAN: caps.On, LRO: caps.Off, Qdisc: caps.Qdisc{Root: "htb", Shaper: "htb"},
		Filters: []caps.Filter{{Text: "tc filter ingress pref 1 handle 0x1 flower"}},
		Queues:  caps.Queues{Combined: 4, MaxCombined: 63}, Rings: caps.Rings{Rx: 1024, Tx: 1024, MaxRx: 8192, MaxTx: 8192},
	}
	vlan := caps.Device{
		Name: "vlan10", Ifindex: 3, Kind: "vlan", Driver: "802.1Q VLAN Support", Type: "ether", Up: true, Carrier: true,
		Lower: []string{nic.Name}, VLAN: &caps.VLAN{ID: 10, Protocol: "802.1Q"}, HWTCOffload: caps.OffFixed,
	}
	nic.Uppers = []string{"vlan10"}
	odd := caps.Device{
		Name: "ens2", Ifindex: 4, Driver: "acme_net", Bus: "0000:02:00.0", Type: "ether", Up: true,
		XDPPrograms: []caps.Program{{ID: 41, Name: "xdp_dispatcher", Mode: "native"}},
	}
	return doctor.Input{
		Machine: caps.Machine{
			Kernel: built(t, "6.12.57+deb13-amd64", caps.OptNetdevsim), NFT: "1.1.3", TC: "6.15.0", CPUs: 32, Forwarding: caps.Yes,
			Accounting: caps.Yes, BPFFS: caps.Yes, Devices: []caps.Device{nic, vlan, odd},
		},
		Fast: map[string]doctor.Fast{
			nic.Name: {Hook: "tc", Code: "xdp-rxvlan-on", Text: "enp1s0f0np0 takes VLAN tags off frames before XDP sees them", Advice: "ethtool -K enp1s0f0np0 rxvlan off"},
			"vlan10": {Hook: "tc", On: []string{"enp1s0f0np0 (tc)"}, Code: "xdp-rxvlan-on", Text: "enp1s0f0np0 takes VLAN tags off frames before XDP sees them"},
			"ens2":   {Hook: "tc", Code: "xdp-foreign-program", Text: "ens2 runs the native XDP program \"xdp_dispatcher\" (id 41) of somebody else"},
		},
		Probes: []doctor.Probe{
			{Device: "ens2", What: doctor.ProbeRule, Taken: caps.No, Words: "Error: acme_net: unsupported match on ip_proto.", Command: "tc filter add dev ens2 ..."},
			{Device: "ens2", What: doctor.ProbeFlowtable, Taken: caps.Yes, Command: "nft -c ..."},
		},
	}
}

// tooOld is a distribution's kernel of 2021 without what the fast path needs.
func tooOld(t *testing.T) doctor.Input {
	t.Helper()
	return doctor.Input{Machine: caps.Machine{
		Kernel: caps.Kernel{
			Version: built(t, "5.14.0-427.el9.x86_64").Version,
			Options: map[caps.Option]caps.Answer{caps.OptBTF: caps.No, caps.OptFlowtable: caps.Yes},
		},
		CPUs:    1,
		Devices: []caps.Device{{Name: "eth0", Ifindex: 2, Driver: "r8169", Bus: "0000:03:00.0", Type: "ether", HWTCOffload: caps.OffFixed}},
	}}
}

// healthyRouter has two ports of a common NIC and nothing in the way.
func healthyRouter(t *testing.T) doctor.Input {
	t.Helper()
	in := doctor.Input{
		Machine: caps.Machine{
			Kernel: built(t, "6.18.50"), NFT: "1.1.3", TC: "6.15.0", CPUs: 8, Forwarding: caps.Yes, Accounting: caps.Yes, BPFFS: caps.Yes,
		},
		Fast: map[string]doctor.Fast{},
	}
	for i, name := range []string{"lan", "wan"} {
		in.Machine.Devices = append(in.Machine.Devices, caps.Device{
			Name: name, Ifindex: uint32(i) + 2, Driver: "ixgbe", Firmware: "0x80000c67", Bus: "0000:01:00.0", Type: "ether", Speed: 10000,
			Up: true, Carrier: true, HWTCOffload: caps.Off, RxVLAN: caps.Off, LRO: caps.Off, Qdisc: caps.Qdisc{Root: "mq"},
			XDP:    caps.XDP{Known: true, Features: []caps.XDPFeature{caps.XDPBasic, caps.XDPRedirect, caps.XDPNdoXmit, caps.XDPZeroCopy}},
			Queues: caps.Queues{Combined: 8, MaxCombined: 63}, Rings: caps.Rings{Rx: 4096, MaxRx: 4096},
		})
		in.Fast[name] = doctor.Fast{Hook: "xdp"}
	}
	return in
}

func TestDiagnosisReadsAsItsFile(t *testing.T) {
	for name, in := range fakes(t) {
		t.Run(name, func(t *testing.T) {
			if err := in.Machine.Validate(); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			(&env{stdout: &b}).printDiagnosis(doctor.Diagnose(in))
			path := filepath.Join("testdata", "doctor", name+".txt")
			if os.Getenv("UPDATE_DOCS") != "" {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s (-want +got), UPDATE_DOCS=1 writes it:\n%s", path, diff)
			}
			for line := range strings.Lines(b.String()) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > tableWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func TestDiagnosisInColorSaysTheSame(t *testing.T) {
	for name, in := range fakes(t) {
		var plain, colored bytes.Buffer
		r := doctor.Diagnose(in)
		(&env{stdout: &plain}).printDiagnosis(r)
		(&env{stdout: &colored, terminal: tableWidth, getenv: func(string) string { return "" }}).printDiagnosis(r)
		text := colored.String()
		if !strings.Contains(text, "\x1b[") {
			t.Errorf("%s: no color", name)
		}
		for _, escape := range []string{"\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[0m"} {
			text = strings.ReplaceAll(text, escape, "")
		}
		if diff := cmp.Diff(plain.String(), text); diff != "" {
			t.Errorf("%s (-plain +colored):\n%s", name, diff)
		}
	}
}

func TestHealthIsTheExitCode(t *testing.T) {
	want := map[string]struct {
		health doctor.Health
		code   exitCode
	}{
		"home-router": {doctor.Unable, exitUnsupported}, "datacenter": {doctor.Degraded, exitDegraded},
		"too-old": {doctor.Unable, exitUnsupported}, "healthy": {doctor.Healthy, exitOK},
	}
	for name, in := range fakes(t) {
		r := doctor.Diagnose(in)
		if got := codeOf(verdict(r.Health)); r.Health != want[name].health || got != want[name].code {
			t.Errorf("%s: %s, exit code %d", name, r.Health, got)
		}
	}
}

func TestPlanTakesTheMachineOutOfTheReport(t *testing.T) {
	for name, in := range fakes(t) {
		b, err := json.Marshal(doctor.Diagnose(in))
		if err != nil {
			t.Fatal(err)
		}
		m, err := caps.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(in.Machine, m); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

const doctorDoc = "../../docs/doctor.md"

// TestDoctorPageShowsTheDiagnoses: a block behind `<!-- file: NAME -->` is that file; UPDATE_DOCS=1 writes it.
func TestDoctorPageShowsTheDiagnoses(t *testing.T) {
	b, err := os.ReadFile(doctorDoc)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	got := regexp.MustCompile("(?s)<!-- file: ([^ ]+) -->\n```\n(.*?)```\n").ReplaceAllStringFunc(string(b), func(block string) string {
		n++
		name := regexp.MustCompile("file: ([^ ]+)").FindStringSubmatch(block)[1]
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return "<!-- file: " + name + " -->\n```\n" + string(text) + "```\n"
	})
	if n == 0 {
		t.Fatal("the page shows no file")
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(doctorDoc, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(got, string(b)); diff != "" {
		t.Errorf("%s (-file +page), UPDATE_DOCS=1 writes it:\n%s", doctorDoc, diff)
	}
}
