package soak

import (
	"errors"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// reloads puts the whole ruleset in place of itself, as firewall frontends do at every change: one transaction that
// flushes and loads.
func reloads() row {
	return row{
		name:   "ruleset reloaded (nft -f)",
		plan:   plan{each: 3},
		script: reload,
		short:  form{times: 25, pairs: 1},
		full:   form{times: 100, pairs: 2},
		what:   "`nft -f` replaces the whole ruleset by itself in one transaction; after each, every connection goes on for a round.",
		lost:   "nothing, not a datagram",
		proves: "no datagram is lost; the daemon sees every reload and goes on",
	}
}

func reload(b *bed, times int) {
	generation := uint64(0)
	if b.d != nil {
		generation = b.d.Status().Generations.Count
	}
	for range times {
		b.nft(b.saved)
		b.talkOn(1)
	}
	b.carried()
	b.unproblematic()
	b.nothingMissing()
	if b.d != nil {
		if got := b.d.Status().Generations.Count - generation; got < uint64(times) {
			b.t.Errorf("%d generations for %d reloads", got, times)
		}
	}
}

// nothingMissing makes it a failure of the run when a datagram is lost in it.
func (b *bed) nothingMissing() { b.complete = true }

// flushes empties the ruleset, and loads it again when every connection has met that.
func flushes() row {
	return row{
		name:   "ruleset flushed, loaded later",
		plan:   plan{each: 3},
		script: flush,
		short:  form{times: 1, pairs: 1},
		full:   form{times: 1, pairs: 10},
		what:   "`nft flush ruleset`, traffic, and then the ruleset again.",
		lost:   "all connections through NAT: without rules their packets go out untranslated and are reset",
		proves: "the daemon leaves the devices, and takes them up again",
	}
}

func flush(b *bed, times int) {
	for range times {
		b.r.Router.Run("nft", "flush", "ruleset")
		b.hooked()
		for _, kind := range []string{masqueraded, forwarded} {
			for _, c := range b.of(kind) {
				if err := testkit.Await(patience, func() error { return errUnless(c.lost() != nil, c.name+" lives") }); err != nil {
					b.t.Logf("without a ruleset: %v", err)
				}
			}
		}
		b.talkOn(2)
		b.nft(b.saved)
		b.hooked(b.r.R0.Name, b.r.R1.Name)
		b.talkOn(2)
	}
	b.carried()
	b.unproblematic()
}

func errUnless(ok bool, otherwise string) error {
	if ok {
		return nil
	}
	return errors.New(otherwise)
}
