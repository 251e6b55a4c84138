package nft

import (
	"errors"
	"testing"
)

// No veth takes flowtables in hardware, and a kernel without any does not either.
func TestProbeOffload_Veth_IsRefusedAndLeavesNothing(t *testing.T) {
	ns := nsWith(t, before)
	ns.Script("ip link add d0 type veth peer name d1")
	rules := ns.Run("nft", "list", "ruleset")
	for _, device := range []string{"d0", "no-such-device"} {
		var why string
		err := ns.Do(func() (err error) { why, err = ProbeOffload(t.Context(), device); return err })
		if err != nil || why == "" {
			t.Errorf("%s: %q, %v", device, why, err)
		}
		t.Logf("%s: %s", device, why)
	}
	if now := ns.Run("nft", "list", "ruleset"); now != rules {
		t.Errorf("the ruleset is\n%s", now)
	}
}

func TestProbeOffload_WithoutNft_IsAnError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if why, err := ProbeOffload(t.Context(), "d0"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("%q, %v", why, err)
	}
}
