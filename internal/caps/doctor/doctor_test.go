package doctor_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/caps/doctor"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// crowd is a machine with many devices.
func crowd(n int) doctor.Input {
	in := doctor.Input{Machine: caps.Machine{Kernel: caps.Kernel{Version: caps.Version{Major: 6, Minor: 12, Patch: 50, Exact: true}}}, Fast: map[string]doctor.Fast{}}
	for i := range n {
		name := fmt.Sprintf("tap%d", i)
		in.Machine.Devices = append(in.Machine.Devices, caps.Device{Name: name, Ifindex: uint32(i) + 1, Kind: "tun", Driver: "tun", Type: "ether", Master: "br0"})
		in.Fast[name] = doctor.Fast{Hook: "tc"}
	}
	return in
}

func BenchmarkDiagnose(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		in := crowd(n)
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				doctor.Diagnose(in)
			}
		})
	}
}

// nic is a port of a machine with nothing in its way.
func nic() caps.Device {
	return caps.Device{
		Name: "eth0", Driver: "ixgbe", Bus: "0000:01:00.0", Type: "ether", Speed: 10000, Up: true, Carrier: true,
		Queues: caps.Queues{Combined: 4, MaxCombined: 8}, Rings: caps.Rings{Rx: 4096, MaxRx: 4096},
	}
}

// good is a machine without a finding.
func good() doctor.Input {
	v, err := caps.ParseVersion("9.0.1")
	if err != nil {
		panic(err)
	}
	k := caps.Kernel{Version: v, Options: map[caps.Option]caps.Answer{}}
	for _, o := range caps.Options() {
		k.Options[o] = caps.Yes
	}
	return doctor.Input{
		Machine: caps.Machine{
			Kernel: k, NFT: "1.1.3", TC: "6.15", CPUs: 4, Forwarding: caps.Yes, Accounting: caps.Yes, BPFFS: caps.Yes,
			Devices: []caps.Device{nic()},
		},
		Fast: map[string]doctor.Fast{"eth0": {Hook: "xdp"}},
	}
}

func TestEachFindingComesFromWhatIsTheMatter(t *testing.T) {
	lacks := func(o caps.Option) func(*doctor.Input) {
		return func(in *doctor.Input) { in.Machine.Kernel.Options[o] = caps.No }
	}
	hardware := func(in *doctor.Input) {
		in.Machine.Devices[0].Driver, in.Machine.Devices[0].HWTCOffload = "mlx5_core", caps.On
	}
	tests := []struct {
		reason reason.Reason
		level  doctor.Level
		spoil  func(*doctor.Input)
	}{
		{reason.KernelTooOld, doctor.Problem, func(in *doctor.Input) {
			in.Machine.Kernel.Version = caps.Version{Major: 5, Minor: 15, Patch: 300, Exact: true}
		}},
		{reason.NoBTF, doctor.Problem, lacks(caps.OptBTF)},
		{reason.NoBPF, doctor.Problem, lacks(caps.OptBPF)},
		{reason.NoBPF, doctor.Warning, lacks(caps.OptBPFJIT)},
		{reason.NoNFTables, doctor.Problem, lacks(caps.OptNFTables)},
		{reason.NoConntrack, doctor.Problem, lacks(caps.OptConntrack)},
		{reason.NoNFT, doctor.Problem, func(in *doctor.Input) { in.Machine.NFT = "" }},
		{reason.NFTTooOld, doctor.Warning, func(in *doctor.Input) { in.Machine.NFT = "0.9.8" }},
		{reason.NoFlowtable, doctor.Note, lacks(caps.OptFlowtable)},
		{reason.NoConntrackLabels, doctor.Warning, func(in *doctor.Input) { lacks(caps.OptFlowtable)(in); lacks(caps.OptCTLabels)(in) }},
		{reason.NoClsFlower, doctor.Warning, func(in *doctor.Input) { hardware(in); lacks(caps.OptClsFlower)(in) }},
		{reason.NoTC, doctor.Warning, func(in *doctor.Input) { hardware(in); in.Machine.TC = "" }},
		{reason.NoBPFFS, doctor.Note, func(in *doctor.Input) { in.Machine.BPFFS = caps.No }},
		{reason.ForwardingOff, doctor.Warning, func(in *doctor.Input) { in.Machine.Forwarding = caps.No }},
		{reason.AcctOff, doctor.Note, func(in *doctor.Input) { in.Machine.Accounting = caps.No }},
		{reason.KernelQuirk, doctor.Warning, func(in *doctor.Input) {
			in.Machine.Kernel.Version = caps.Version{Major: 6, Minor: 12, Patch: 1, Exact: true}
		}},
		{reason.DeviceForeignXDP, doctor.Warning, func(in *doctor.Input) { in.Machine.Devices[0].XDPPrograms = []caps.Program{{ID: 1, Mode: "native"}} }},
		{reason.DeviceForeignFilter, doctor.Warning, func(in *doctor.Input) { in.Machine.Devices[0].Filters = []caps.Filter{{Text: "x"}} }},
		{reason.NoNativeXDP, doctor.Warning, func(in *doctor.Input) { in.Fast["eth0"] = doctor.Fast{Hook: "tc", Code: "xdp-lro-on"} }},
		{reason.EgressLacksXDPXmit, doctor.Note, func(in *doctor.Input) { in.Fast["eth0"] = doctor.Fast{Hook: "xdp", Target: "no"} }},
		{reason.HwTcOffloadOff, doctor.Warning, func(in *doctor.Input) { hardware(in); in.Machine.Devices[0].HWTCOffload = caps.Off }},
		{reason.EswitchLegacy, doctor.Note, func(in *doctor.Input) { hardware(in); in.Machine.Devices[0].Eswitch = caps.EswitchLegacy }},
		{reason.NtupleOn, doctor.Warning, func(in *doctor.Input) {
			in.Machine.Devices[0].Driver, in.Machine.Devices[0].Ntuple = "rvu-nicpf", caps.On
		}},
		{reason.DeviceShaped, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Qdisc = caps.Qdisc{Root: "tbf", Shaper: "tbf"} }},
		{reason.DeviceDown, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Up = false }},
		{reason.DeviceDown, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Carrier = false }},
		{reason.DeviceSlowLink, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Speed = 1000 }},
		{reason.QueuesFewerThanCPUs, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Queues.Combined = 1 }},
		{reason.RingSmall, doctor.Note, func(in *doctor.Input) { in.Machine.Devices[0].Rings.Rx = 512 }},
	}
	// Of a machine nobody knows the bugs of, the one note is that.
	if r := doctor.Diagnose(good()); r.Health != doctor.Healthy || r.Count(doctor.Note) != len(r.Findings) {
		t.Fatalf("a good machine: %+v", r.Findings)
	}
	for _, tt := range tests {
		in := good()
		tt.spoil(&in)
		r := doctor.Diagnose(in)
		i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.Reason == tt.reason && f.Level == tt.level })
		if i < 0 {
			t.Errorf("no %s %s among %+v", tt.level, tt.reason, r.Findings)
			continue
		}
		if f := r.Findings[i]; f.Text == "" || f.Next == "" {
			t.Errorf("%s: text %q, next %q", tt.reason, f.Text, f.Next)
		}
	}
}

func TestTiersNameTheirReason(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*doctor.Input)
		tier  doctor.TierName
		can   caps.Support
		code  string
	}{
		{"driver without rules", func(*doctor.Input) {}, doctor.HardwareRules, caps.SupportNo, "no-ndo-setup-tc"},
		{"driver without flows", func(*doctor.Input) {}, doctor.HardwareFlows, caps.SupportNo, "device-no-ft"},
		{"unknown driver", func(in *doctor.Input) { in.Machine.Devices[0].Driver = "acme" }, doctor.HardwareRules, "unknown", "device-no-profile"},
		{
			"unknown driver that took a rule", func(in *doctor.Input) {
				in.Machine.Devices[0].Driver = "acme"
				in.Probes = []doctor.Probe{{Device: "eth0", What: doctor.ProbeRule, Taken: caps.Yes}}
			}, doctor.HardwareRules, caps.SupportYes, "",
		},
		{
			"known driver that refused", func(in *doctor.Input) {
				in.Machine.Devices[0].Driver, in.Machine.Devices[0].HWTCOffload = "mlx5_core", caps.On
				in.Probes = []doctor.Probe{{Device: "eth0", What: doctor.ProbeRule, Taken: caps.No, Words: "no"}}
			}, doctor.HardwareRules, caps.SupportNo, "",
		},
		{"feature off", func(in *doctor.Input) {
			in.Machine.Devices[0].Driver, in.Machine.Devices[0].HWTCOffload = "ice", caps.Off
		}, doctor.HardwareRules, caps.SupportNo, "hw-tc-offload-off"},
		{"rules partly", func(in *doctor.Input) {
			in.Machine.Devices[0].Driver, in.Machine.Devices[0].HWTCOffload = "ice", caps.On
		}, doctor.HardwareRules, caps.SupportPartly, ""},
		{"flows of a packet processor", func(in *doctor.Input) {
			in.Machine.Devices[0].Driver, in.Machine.Devices[0].HWTCOffload = "mtk_soc_eth", caps.On
		}, doctor.HardwareFlows, caps.SupportYes, ""},
		{"no flowtables", func(in *doctor.Input) { in.Machine.Kernel.Options[caps.OptFlowtable] = caps.No }, doctor.KernelFlowtable, caps.SupportNo, "no-flowtable"},
		{"nobody looked", func(in *doctor.Input) { in.Fast = nil }, doctor.XDP, "unknown", ""},
		{"no BTF", func(in *doctor.Input) { in.Machine.Kernel.Options[caps.OptBTF] = caps.No }, doctor.TC, caps.SupportNo, "no-btf"},
	}
	for _, tt := range tests {
		in := good()
		tt.spoil(&in)
		for _, tier := range doctor.Diagnose(in).Devices[0].Tiers {
			if tier.Name == tt.tier && (tier.Can != tt.can || tier.Code != tt.code) {
				t.Errorf("%s: %+v, want %s %s", tt.name, tier, tt.can, tt.code)
			}
		}
	}
}
