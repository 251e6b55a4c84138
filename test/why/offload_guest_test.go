//go:build guest

package why_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
	"github.com/nft-offload/nft-offload/internal/why"
)

// TestFlowOnARealFlowtable: the kernel's own flowtable has the flow; nft-offload has it, too, once its daemon runs.
func TestFlowOnARealFlowtable(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc, testkit.Flowtable)
	r := testkit.NewRouter(t, testkit.RouterOptions{NoChecksumOffload: true})
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte("flush ruleset\n"+handover(both, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := daemon.Command(t, r.Router, "load", file); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
	busy(t, r.Path(false, port), testkit.UDPOptions{})
	pattern := fmt.Sprintf(":%d", port)
	awaitStage(t, r, pattern, func(a answer) bool {
		return a.Stage == why.KernelFlowtable && a.Reason == "no-daemon" && a.says("hardware: no, the status bit hw-offload is not set")
	})
	d := daemon.Start(t, r.Router)
	fast(t, d, 50)
	awaitStage(t, r, pattern, func(a answer) bool {
		return a.Stage == why.Carried && a.says("handed over: yes, by the status bit offload")
	})
}

func awaitStage(t *testing.T, r *testkit.Router, pattern string, ok func(answer) bool) {
	t.Helper()
	testkit.MustAwait(t, 30*time.Second, func() error {
		if a := flow(t, r.Router, pattern); !ok(a) {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
}
