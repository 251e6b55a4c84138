package caps_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/caps"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), `go test ./internal/caps -update` writes it:\n%s", path, diff)
	}
}

func TestProfilesAreTheTablePeopleRead(t *testing.T) {
	golden(t, "profiles.txt", caps.ProfileTable(caps.Profiles()))
}

func TestEveryProfileHasASourceAndAName(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range caps.Profiles() {
		if len(p.Sources) == 0 || slices.Contains(p.Sources, "") || !p.Kernel.Known() {
			t.Errorf("%s: sources %q of kernel %s", p.Name, p.Sources, p.Kernel)
		}
		if p.Name == "" || seen[p.Name] || len(p.Drivers) == 0 || p.Title == "" || p.Chain == caps.SupportUnknown || p.WhyChain == "" {
			t.Errorf("%+v: needs a name of its own, a driver, a title and a word about chains", p)
		}
		seen[p.Name] = true
	}
	for _, name := range []string{
		"mlx5", "mlx5-uplink", "mlx5-representor", "ixgbe", "i40e", "ice", "ice-uplink", "ice-representor", "igb", "igc",
		"nfp", "bnxt", "mtk", "mtk-wed", "airoha", "otx2", "sfc-ef100", "sfc-ef10", "cxgb4", "stmmac", "mlxsw", "prestera",
		"ocelot", "felix", "lan966x", "sparx5", "dsa-port", "netdevsim", "virtio_net", "veth", "bridge", "bond", "vlan", "tun",
		"e1000e", "r8169",
	} {
		if !seen[name] {
			t.Errorf("no profile %s", name)
		}
	}
}

func TestChainOffloadNeedsAnActionAndFlowtablesOnlyWhereTheKernelHasThem(t *testing.T) {
	var flowtable []string
	for _, p := range caps.Profiles() {
		if p.Chain == caps.SupportYes && (p.Actions == 0 || p.Keys == 0) {
			t.Errorf("%s: chain offload yes with keys %q and actions %q", p.Name, p.Keys, p.Actions)
		}
		if p.Flowtable == caps.Yes {
			flowtable = append(flowtable, p.Name)
		}
	}
	// Every TC_SETUP_FT of Linux 7.1.5, and netdevsim's after it.
	want := []string{"airoha", "mlx5-representor", "mtk", "mtk-wed", "netdevsim-fake"}
	if diff := cmp.Diff(want, flowtable); diff != "" {
		t.Errorf("flowtables (-want +got):\n%s", diff)
	}
}

func TestForFindsTheProfileOfADriverInItsMode(t *testing.T) {
	tests := []struct {
		driver string
		mode   caps.Mode
		want   string
	}{
		{"mlx5_core", "", "mlx5"},
		{"mlx5_core", caps.ModeNIC, "mlx5"},
		{"mlx5_core", caps.ModeUplink, "mlx5-uplink"},
		{"mlx5e_rep", caps.ModeRepresentor, "mlx5-representor"},
		{"ice", caps.ModeUplink, "ice-uplink"},
		{"mtk_soc_eth", "", "mtk"},
		{"iavf", "", "i40e"},
		{"netdevsim", "", "netdevsim"},
		{"ixgbe", caps.ModeUplink, "ixgbe"},
		{"no_such", "", ""},
	}
	for _, tt := range tests {
		p, ok := caps.For(tt.driver, tt.mode)
		if p.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("For(%q, %q) = %q, %v, want %q", tt.driver, tt.mode, p.Name, ok, tt.want)
		}
	}
}

func TestProfileOfReadsModeRoleAndKind(t *testing.T) {
	tests := []struct {
		name string
		d    caps.Device
		want string
	}{
		{"NIC", caps.Device{Driver: "mlx5_core", Eswitch: caps.EswitchLegacy}, "mlx5"},
		{"wire in switchdev mode", caps.Device{Driver: "mlx5_core", Eswitch: caps.EswitchSwitchdev}, "mlx5-uplink"},
		{"representor", caps.Device{Driver: "mlx5_core", Switch: caps.Switch{Role: caps.RoleRepresentor}}, "mlx5-representor"},
		{"DSA port", caps.Device{Driver: "dsa", Switch: caps.Switch{Role: caps.RoleDSAPort}}, "dsa-port"},
		{"DSA port of a driver's own name", caps.Device{Driver: "mv88e6xxx", Switch: caps.Switch{Role: caps.RoleDSAPort}}, "dsa-port"},
		{"bridge by kind", caps.Device{Kind: "bridge"}, "bridge"},
		{"VLAN device", caps.Device{Driver: "802.1Q VLAN Support", Kind: "vlan"}, "vlan"},
		{"named", caps.Device{Driver: "ixgbe", Profile: "mtk"}, "mtk"},
		{"unknown", caps.Device{Driver: "acme"}, ""},
	}
	for _, tt := range tests {
		p, ok := caps.ProfileOf(tt.d)
		if p.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, p.Name, ok, tt.want)
		}
	}
}

func TestAssumedDevicesHaveTheirProfile(t *testing.T) {
	for _, p := range caps.Profiles() {
		m := caps.Assume(p, "eth0", "eth1")
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		d, ok := m.Device("eth1")
		if got, _ := caps.ProfileOf(d); !ok || got.Name != p.Name {
			t.Errorf("%s: %q of %+v", p.Name, got.Name, d)
		}
		d.Profile = ""
		if got, ok := caps.ProfileOf(d); p.Name != "netdevsim-fake" && (!ok || got.Name != p.Name) {
			t.Errorf("%s: without its name its device is of profile %q: %+v", p.Name, got.Name, d)
		}
	}
}

func TestKeysNameThemselves(t *testing.T) {
	all := caps.KeyControl<<20 - 1
	if got := strings.Fields(all.String()); len(got) != 20 || slices.Contains(got, "?") || len(all.List()) != 20 {
		t.Errorf("keys: %q", got)
	}
	for _, c := range caps.Conditions() {
		if strings.HasPrefix(c.String(), "Condition(") || c.Text() == "" {
			t.Errorf("condition %d has no name or no text", c)
		}
	}
}
