package soak

import (
	"fmt"
	"slices"
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
		b.forgets(func(engine.Flow) bool { return true })
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
	b.forgets(func(f engine.Flow) bool { return f.State != "learned" })
}

// idle is when the table has lost everything that is idle: a minute (internal/datapath/sweep.go), and the sweep. Directions
// that never became fast do not hear of FIN and RST and stay that long. What was fast ends with those, or so if it became
// fast at the same instant.
const idle = 90 * time.Second

// forgets waits until no flow of the many is in the table that counts.
func (b *bed) forgets(counts func(engine.Flow) bool) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, idle, func() error {
		left := slices.DeleteFunc(b.d.Flows(), func(f engine.Flow) bool {
			return f.Src.Port() != manyPort && f.Dst.Port() != manyPort || !counts(f)
		})
		return errUnless(len(left) == 0, fmt.Sprintf("directions of the connections are still in the flow table: %+v", left))
	})
}
