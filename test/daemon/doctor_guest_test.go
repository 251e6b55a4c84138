//go:build guest

package daemon_test

import (
	"regexp"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestDoctorAsksDriversOnAStockKernel: with flower and flowtables in the kernel the driver of a veth is asked for both, and
// refuses in words; nothing is left behind. A kernel that would free the refused flowtable too early is not asked.
func TestDoctorAsksDriversOnAStockKernel(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc, testkit.Flowtable)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	rules, qdiscs := rulesetOf(r.Router), r.Router.Run("tc", "qdisc", "show")
	out, err := daemon.Command(t, r.Router, "doctor", "--probe", "r0")
	if code := daemon.ExitCode(err); code != 0 && code != 12 {
		t.Fatalf("doctor ends with %d: %s", code, out)
	}
	t.Logf("%s", out)
	for _, want := range []string{
		`(?m)^has .*\bflowtable\b`, `(?m)^  kernel flowtable  yes`, `(?m)^  probe flower skip_sw: refused: \S`,
		`(?m)^  probe flowtable flags offload: (refused: \S|not asked: Linux)`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing like %s", want)
		}
	}
	if now := rulesetOf(r.Router); now != rules {
		t.Errorf("the ruleset is\n%s", now)
	}
	if now := r.Router.Run("tc", "qdisc", "show"); now != qdiscs {
		t.Errorf("the qdiscs are\n%s", now)
	}
}
