package soak

import (
	"fmt"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// many opens and closes connections, each long enough to become fast, beside the talks.
func many() row {
	return row{
		name:   "connections opened and closed",
		plan:   plan{each: 2, launch: func(b *bed) (*daemon.Daemon, error) { return b.launch(nil, "--keep") }},
		script: openAndClose,
		short:  form{times: 1500, pairs: 1},
		full:   form{times: 10000, pairs: 2},
		what:   "Connections of eight messages each, closed by either end with FIN or RST, beside others that stay.",
		lost:   "nothing",
		proves: "every one was answered and closed as it should be; conntrack and flow table forget them; the daemon holds no more descriptors and memory than before; no adjacency is lost",
	}
}

func openAndClose(b *bed, times int) {
	b.forgetful()
	b.crowd(times/10, 1) // what is made once is made now
	b.calm()
	before := b.daemonUses()
	b.visitors = times
	b.failed = b.crowd(times, 2)
	b.calm()
	b.usesNoMore(before)
	if b.full {
		// Directions that never became fast stay for the idle limit of the table (internal/datapath/sweep.go).
		b.forgets(90*time.Second, func(engine.Flow) bool { return true })
	}
	b.talkOn(2)
	b.carried()
	b.unproblematic()
	b.nothingMissing()
	b.adjacenciesReturn()
}

// calm waits until conntrack has forgotten the many, and so has the flow table.
func (b *bed) calm() {
	b.t.Helper()
	const limit = 30 * time.Second // conntrack's garbage collection takes turns
	testkit.MustAwait(b.t, limit, func() error {
		n := 0
		for _, e := range b.tracked() {
			if e.Orig.Proto == packet.TCP && e.Orig.Dst.Port() == manyPort {
				n++
			}
		}
		return errUnless(n == 0, fmt.Sprintf("%d of the connections are still tracked", n))
	})
	b.forgets(limit, func(f engine.Flow) bool { return f.State != "learned" })
}

// forgets waits until no flow of the many is in the table that counts.
func (b *bed) forgets(limit time.Duration, counts func(engine.Flow) bool) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, limit, func() error {
		n := 0
		for _, f := range b.d.Flows() {
			if (f.Src.Port() == manyPort || f.Dst.Port() == manyPort) && counts(f) {
				n++
			}
		}
		return errUnless(n == 0, fmt.Sprintf("%d directions of the connections are still in the flow table", n))
	})
}
