package caps_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nft-offload/nft-offload/internal/caps"
)

// router is a machine with a device of every kind of field.
func router() caps.Machine {
	return caps.Machine{
		Kernel: caps.Kernel{
			Version: caps.Version{Major: 6, Minor: 1, Patch: 119, Release: "6.1.0-28-amd64", Exact: true},
			Options: map[caps.Option]caps.Answer{
				caps.OptBTF: caps.Yes, caps.OptFlowtable: caps.No, caps.OptClsFlower: caps.Unknown,
			},
		},
		NFT: "1.0.6", TC: "6.1.0", CPUs: 4,
		Devices: []caps.Device{
			{
				Name: "enp1s0f0", Ifindex: 2, Driver: "mlx5_core", Firmware: "16.35.2000", Bus: "0000:01:00.0", Type: "ether",
				Speed: 25000, MAC: "02:00:00:00:00:01", MTU: 1500, Up: true, Carrier: true, Uppers: []string{"enp1s0f0.10"},
				Switch:      caps.Switch{Role: caps.RoleUplink, ID: "0a0b0c", PortName: "p0"},
				XDP:         caps.XDP{Known: true, Features: []caps.XDPFeature{caps.XDPBasic, caps.XDPRedirect}},
				HWTCOffload: caps.Off, RxVLAN: caps.On, LRO: caps.OffFixed, Eswitch: caps.EswitchSwitchdev,
				Qdisc:       caps.Qdisc{Root: "htb", Shaper: "htb"},
				XDPPrograms: []caps.Program{{ID: 7, Name: "filter", Mode: "native"}},
				Filters:     []caps.Filter{{Egress: true, Text: "tc filter egress pref 1 flower"}},
				Queues:      caps.Queues{Combined: 4, MaxCombined: 8}, Rings: caps.Rings{Rx: 512, MaxRx: 4096},
			},
			{
				Name: "enp1s0f0.10", Ifindex: 3, Kind: "vlan", Type: "ether", Lower: []string{"enp1s0f0"},
				VLAN: &caps.VLAN{ID: 10, Protocol: "802.1Q"}, HWTCOffload: caps.OffFixed,
			},
			{Name: "br0", Ifindex: 4, Kind: "bridge", Lower: []string{"enp1s0f0.10"}, VLANFiltering: true, Profile: "bridge"},
		},
	}
}

func TestMachineComesBackFromItsJSON(t *testing.T) {
	want := router()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := caps.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := got.Encode()
	if err != nil || string(again) != string(b) {
		t.Errorf("encoded again: %v\n%s", err, again)
	}
	golden(t, "machine.json", string(b))
}

func TestBadMachineIsOneErrorWithItsPlace(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", ``, `line 1, column 1: the text ends here`},
		{"truncated", "{\n  \"devices\": [{\"name\": \"eth0\"", `line 2, column 30: devices[0]: the text ends here`},
		{"truncated string", `{"nft": "1.`, `line 1, column 12: nft: the text ends here`},
		{"no JSON", `{"nft": nix}`, `line 1, column 9: nft: invalid character 'i' in literal null (expecting 'u')`},
		{"array", `[]`, `line 1, column 1: want an object, got an array`},
		{"null", `{"devices": null}`, `line 1, column 13: devices: want an array, got null`},
		{"unknown field", "{\"devices\": [\n {\"name\": \"a\", \"speeed\": 5}]}", `line 2, column 16: devices[0].speeed: no such field`},
		{"field of another case", `{"NFT": "1.0.6"}`, `line 1, column 2: NFT: no such field`},
		{"field twice", `{"nft": "1", "nft": "2"}`, `line 1, column 14: nft: comes twice`},
		{"wrong type", `{"devices": [{"name": "a", "mtu": "1500"}]}`, `line 1, column 35: devices[0].mtu: want a number, got a string`},
		{"fraction", `{"cpus": 1.5}`, `line 1, column 10: cpus: 1.5 is no whole number of this size`},
		{"negative", `{"cpus": -1}`, `line 1, column 10: cpus: -1 is below 0`},
		{"too large", `{"devices": [{"name": "a", "ifindex": 4294967296}]}`, `line 1, column 39: devices[0].ifindex: 4294967296 is no whole number of this size`},
		{"answer", `{"kernel": {"options": {"btf": "maybe"}}}`, `line 1, column 32: kernel.options.btf: "maybe" is none of yes, no, unknown`},
		{"option", `{"kernel": {"options": {"bft": "yes"}}}`, `line 1, column 25: kernel.options.bft: no such field`},
		{"version", `{"kernel": {"version": "six"}}`, `line 1, column 24: kernel.version: parse kernel version "six": want MAJOR.MINOR.PATCH`},
		{"feature", `{"devices": [{"name": "a", "xdp": {"known": true, "features": ["fast"]}}]}`, `devices[0].xdp.features[0]: "fast" is none of basic,`},
		{"escaped control character", `{"devices": [{"name": "a\u001b[1m"}]}`, `line 1, column 23: devices[0].name: "a\x1b[1m" has a control character`},
		{"C1 control character", `{"devices": [{"name": "a` + "\u009b" + `"}]}`, `has a control character`},
		{"raw control character", "{\"nft\": \"a\x01\"}", `line 1, column 9: nft: invalid character '\x01' in string literal`},
		{"control character in a name of a field", `{"a\u0000": 1}`, `line 1, column 2: "a\x00" has a control character`},
		{"not UTF-8", "{\n\"nft\": \"\xff\"}", `line 2, column 9: not UTF-8`},
		{"something after", `{} {}`, `something follows the machine`},
		{"no name", `{"devices": [{"mtu": 1}]}`, `devices[0]: a device has no name`},
		{"long name", `{"devices": [{"name": "abcdefghijklmnop"}]}`, `device name "abcdefghijklmnop" has more than 15 bytes`},
		{"slash", `{"devices": [{"name": "a/b"}]}`, `"a/b" is no name of a device`},
		{"space", `{"devices": [{"name": "a b"}]}`, `"a b" is no name of a device`},
		{"same name", `{"devices": [{"name": "a"}, {"name": "a"}]}`, `devices[1]: another device is named "a"`},
		{"profile", `{"devices": [{"name": "a", "profile": "warp"}]}`, `a: there is no profile "warp"`},
		{"circle", `{"devices": [{"name": "a", "lower": ["b"]}, {"name": "b", "lower": ["a"]}]}`, `device "a" stands on itself`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := caps.Decode([]byte(tt.in))
			if err == nil {
				t.Fatalf("decoded as %+v", m)
			}
			if !strings.HasPrefix(err.Error(), "decode machine: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %q\nwant %q", err, tt.want)
			}
			var place *caps.SyntaxError
			if strings.HasPrefix(tt.want, "line") && (!errors.As(err, &place) || place.Line == 0) {
				t.Errorf("no place in %v", err)
			}
		})
	}
}

func TestMachineIsReadOutOfAReport(t *testing.T) {
	b, err := router().Encode()
	if err != nil {
		t.Fatal(err)
	}
	report := `{"health": "degraded", "findings": [{"text": "machine"}], "machine": ` + string(b) + `, "devices": []}`
	got, err := caps.Decode([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(router(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = caps.Decode([]byte("{\"health\": \"healthy\",\n \"machine\": {\"nft\": 1}}"))
	if err == nil || !strings.Contains(err.Error(), "line 2, column 21: machine.nft: want a string") {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	// Short ones: the fuzzer spends its time on making long ones short.
	for _, seed := range []string{
		`{"kernel": {"version": "6.1.0-28-amd64 (6.1.119)", "options": {"btf": "yes", "flowtable": "unknown"}}, "cpus": 4}`,
		`{"devices": [{"name": "a", "vlan": {"id": 1, "protocol": "802.1Q"}, "lower": ["b"]}, {"name": "b"}]}`,
		`{"devices": [{"name": "a", "xdp": {"known": true, "features": ["basic"]}, "hw-tc-offload": "off [fixed]"}]}`,
		`{"health": "healthy", "machine": {"nft": "1.0.6"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := caps.Decode(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		m2, err := caps.Decode(again)
		if err != nil {
			t.Fatalf("%v:\n%s", err, again)
		}
		if diff := cmp.Diff(m, m2, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}

func TestLowestAreTheDevicesAtTheBottom(t *testing.T) {
	m := caps.Machine{Devices: []caps.Device{
		{Name: "eth0"},
		{Name: "eth1"},
		{Name: "eth2"},
		{Name: "bond0", Kind: "bond", Lower: []string{"eth0", "eth1"}},
		{Name: "bond0.7", Kind: "vlan", Lower: []string{"bond0"}},
		{Name: "br0", Kind: "bridge", Lower: []string{"bond0.7", "eth2"}},
	}}
	for name, want := range map[string][]string{
		"eth0": {"eth0"}, "br0": {"eth2", "eth0", "eth1"}, "bond0.7": {"eth0", "eth1"}, "absent": {"absent"},
	} {
		if diff := cmp.Diff(want, m.Lowest(name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
