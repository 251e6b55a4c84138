package tc

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// bed is a namespace with the device r0.
func bed(t *testing.T) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.Tc)
	ns := testkit.NewNS(t, "tc")
	ns.Script("ip link add r0 type veth peer name c0")
	return ns
}

func probe(t *testing.T, ns *testkit.NS, device string) (a Answer, err error) {
	t.Helper()
	if doErr := ns.Do(func() error { a, err = Probe(t.Context(), device); return nil }); doErr != nil {
		t.Fatal(doErr)
	}
	return a, err
}

func TestProbeOfADeviceWithoutHardwareIsRefusedInWordsAndLeavesNothing(t *testing.T) {
	ns := bed(t)
	before := ns.Run("tc", "qdisc", "show", "dev", "r0")
	a, err := probe(t, ns, "r0")
	if err != nil {
		t.Fatal(err)
	}
	if a.Refused == nil || a.Refused.Text == "" || strings.Contains(a.Refused.Text, "\n") || a.InHW || a.Left != nil {
		t.Errorf("%+v", a)
	}
	t.Logf("%s", a.Refused)
	if after := ns.Run("tc", "qdisc", "show", "dev", "r0"); after != before {
		t.Errorf("qdiscs before:\n%s\nafter:\n%s", before, after)
	}
}

func TestProbeLeavesTheQdiscOfOthersAsItWas(t *testing.T) {
	for _, kind := range []string{"clsact", "ingress"} {
		t.Run(kind, func(t *testing.T) {
			ns := bed(t)
			ns.Run("tc", "qdisc", "add", "dev", "r0", kind)
			ns.Run("tc", "filter", "add", "dev", "r0", "ingress", "pref", "7", "u32", "match", "u32", "0", "0")
			state := func() string {
				return ns.Run("tc", "qdisc", "show", "dev", "r0") + ns.Run("tc", "filter", "show", "dev", "r0", "ingress")
			}
			before := state()
			if _, err := probe(t, ns, "r0"); err != nil {
				t.Fatal(err)
			}
			if after := state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestProbeKeepsOffAPreferenceInUse(t *testing.T) {
	ns := bed(t)
	ns.Run("tc", "qdisc", "add", "dev", "r0", "clsact")
	ns.Run("tc", "filter", "add", "dev", "r0", "ingress", "pref", probePref, "u32", "match", "u32", "0", "0")
	if a, err := probe(t, ns, "r0"); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("%+v, %v", a, err)
	}
	if out := ns.Run("tc", "filter", "show", "dev", "r0", "ingress"); !strings.Contains(out, "pref "+probePref) {
		t.Errorf("somebody's filter is gone: %s", out)
	}
}

func TestProbeOfAnAbsentDeviceIsAnError(t *testing.T) {
	ns := bed(t)
	var refused *Error
	if a, err := probe(t, ns, "no-such"); !errors.As(err, &refused) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestProbeThatIsCancelledDoesNotBegin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(ctx, "lo"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
