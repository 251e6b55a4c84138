//go:build guest

package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestRollbackOfARealFlowtable: a ruleset with a flowtable of the kernel comes back with it; and when a device of it is
// gone by then, without that device.
func TestRollbackOfARealFlowtable(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc, testkit.Flowtable)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	if out, err := daemon.Command(t, r.Router, "load", example); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	before := rulesetOf(r.Router)
	if !strings.Contains(before, "devices = { r0, r1 }") {
		t.Fatalf("no flowtable: %s", before)
	}
	udp := testkit.OpenUDP(t, r.Path(false, 5001), testkit.UDPOptions{})
	if err := udp.Exchange(100, 100, 5*time.Second).Whole(); err != nil {
		t.Fatal(err)
	}
	c := loadConfirm(t, r.Router, time.Hour, lockout)
	if out, err := daemon.Command(t, r.Router, "rollback"); err != nil {
		t.Fatalf("rollback: %v: %s", err, out)
	}
	if code := c.code(); code != 9 {
		t.Errorf("code %d: %s", code, c.out)
	}
	if now := rulesetOf(r.Router); now != before {
		t.Errorf("the ruleset is\n%s", now)
	}
	if err := udp.Exchange(100, 100, 5*time.Second).Whole(); err != nil {
		t.Error(err)
	}

	c = loadConfirm(t, r.Router, time.Hour, lockout)
	r.Router.Run("ip", "link", "del", "r1")
	out, err := daemon.Command(t, r.Router, "rollback")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "left out, because they do not exist any more: devices r1") {
		t.Errorf("rollback: %v: %s", err, out)
	}
	_ = c.code()
	now := rulesetOf(r.Router)
	if want := strings.Replace(before, "devices = { r0, r1 }", "devices = { r0 }", 1); !slices.Equal(strings.Fields(now), strings.Fields(want)) {
		t.Errorf("the ruleset is\n%s\nwant\n%s", now, want)
	}
}
