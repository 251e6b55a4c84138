package daemon_test

import (
	"encoding/json"
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/caps/doctor"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestDoctorSaysWhatRunDoes: before there is a daemon doctor names the hook that each device gets, and with one it does not
// take our own programs for somebody else's.
func TestDoctorSaysWhatRunDoes(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	before := diagnose(t, r.Router)
	if out, err := daemon.Command(t, r.Router, "load", example); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	d := daemon.Start(t, r.Router)
	for _, device := range d.Status().Devices {
		for _, tier := range tiersOf(t, before, device.Name) {
			said := tier.Can == caps.SupportYes
			switch tier.Name {
			case doctor.XDP:
				if does := device.Hook == engine.XDP; said != does {
					t.Errorf("%s: doctor says of XDP %+v, the daemon does %s", device.Name, tier, device.Hook)
				}
			case doctor.TC:
				if does := device.Hook != engine.Off; said != does {
					t.Errorf("%s: doctor says of tc %+v, the daemon does %s", device.Name, tier, device.Hook)
				}
			case doctor.HardwareRules, doctor.HardwareFlows, doctor.KernelFlowtable, doctor.SlowPath:
			}
		}
	}
	for _, f := range diagnose(t, r.Router).Findings {
		if f.Device != "" && f.Level != doctor.Note {
			t.Errorf("with a daemon doctor warns of %s: %+v", f.Device, f)
		}
	}
}

// diagnose runs doctor. Only the machine's health may make it end with another code than 0.
func diagnose(t *testing.T, ns *testkit.NS) doctor.Report {
	t.Helper()
	out, err := daemon.Command(t, ns, "doctor", "--json")
	if code := daemon.ExitCode(err); code != 0 && code != 12 {
		t.Fatalf("doctor ends with %d: %s", code, out)
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

func tiersOf(t *testing.T, r doctor.Report, device string) []doctor.Tier {
	t.Helper()
	for _, d := range r.Devices {
		if d.Name == device {
			return d.Tiers
		}
	}
	t.Fatalf("doctor says nothing of %s: %+v", device, r.Devices)
	return nil
}
