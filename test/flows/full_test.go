package flows

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// TestTableTooSmall: with room for two flows, twenty connections work, the rest slow and counted; and still when the
// daemon is gone.
func TestTableTooSmall(t *testing.T) {
	eachHook(t, func(t *testing.T, hook engine.Hook) {
		r, d := routed(t, hook, translations()[1], finished(), "--max-flows", "4")
		work := func(what string) {
			for range 10 {
				tcp, err := testkit.ConnectTCP(t, r.Path(false, port), 0)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if err := tcp.Exchange(100_000, 10*time.Second); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				udp := testkit.OpenUDP(t, r.Path(false, port+1), testkit.UDPOptions{})
				if err := udp.Exchange(20, 2000, time.Second).Whole(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				udp.Close()
			}
		}
		work("with a daemon")
		s := d.Status()
		if daemon.Reason(s, "table-full") == 0 {
			t.Errorf("the table was never full: %+v", s.Stats)
		}
		if s.Stats.Flows > 4 {
			t.Errorf("%d entries in a table for 4", s.Stats.Flows)
		}
		d.Kill9()
		work("without a daemon")
	})
}
