package soak

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// ruleset is what the router runs, as a user has it.
const ruleset = "../../examples/router.nft"

// bed is one run of a row: client, router and server, a load, and in one of the two runs the daemon.
type bed struct {
	t      *testing.T
	r      *testkit.Router
	d      *daemon.Daemon // nil: the run without it
	ours   bool
	full   bool       // the full form
	random *rand.Rand // the script's; both runs draw the same
	seed   uint64
	talks  []talk
	// visitors are connections that are no talks any more, failed which of them went wrong.
	visitors int
	failed   map[int]error
	saved    string // the ruleset as it was loaded, for nft -f
	// complete says that no datagram may be missing.
	complete bool
	mounts   *mounts
	fast     uint64 // packets that daemons carried which do not run any more
	slow     uint64
}

// plan says what a row needs of its bed.
type plan struct {
	each  int  // talks of each kind
	quiet bool // also quiet ones
	// launch starts the daemon in another way than daemon.Start.
	launch func(b *bed) *daemon.Daemon
}

func randomOf(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

// newBed builds the topology, loads the ruleset, starts the daemon or does not, and starts the load.
func newBed(t *testing.T, p plan, seed uint64, ours, full bool) *bed {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	b := &bed{t: t, r: testkit.NewRouter(t, testkit.RouterOptions{}), ours: ours, full: full, random: rand.New(randomOf(seed)), seed: seed}
	for _, d := range b.devices() {
		// What a network manager would do: a device that comes back has its addresses.
		d.NS.Sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")
		b.impatient(d)
	}
	if out, err := daemon.Command(t, b.r.Router, "load", "--lower", ruleset); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	b.saved = b.save()
	switch {
	case ours && p.launch != nil:
		b.d = p.launch(b)
	case ours:
		b.d = daemon.Start(t, b.r.Router)
	}
	b.load(p)
	b.talkOn(3)
	b.carried()
	return b
}

func (b *bed) devices() []testkit.Dev { return []testkit.Dev{b.r.C0, b.r.R0, b.r.R1, b.r.S0} }

// impatient spares the rows the second that passes before a neighbour is asked for again.
func (b *bed) impatient(d testkit.Dev) {
	b.t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		d.NS.Sysctl("net/"+family+"/neigh/"+d.Name+"/retrans_time_ms", "100")
	}
}

// save writes the live ruleset to a file that nft -f loads in place of whatever is there.
func (b *bed) save() string {
	b.t.Helper()
	text := "flush ruleset\n" + b.r.Router.Run("nft", "-s", "list", "ruleset")
	file := filepath.Join(b.t.TempDir(), "ruleset.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// nft loads the ruleset file in one transaction.
func (b *bed) nft(file string) {
	b.t.Helper()
	b.r.Router.Run("nft", "-f", file)
}

// tally counts the packets of the daemon's datapath, which goes away.
func (b *bed) tally() {
	if b.d == nil || !b.d.Running() {
		return
	}
	s := b.d.Status().Stats
	b.fast += s.FastPackets().Packets
	b.slow += s.Slow.Packets
}

// outcome is what became of a run.
type outcome struct {
	Talks int
	Lost  map[string]string // by label: why
	harm
	Fast, Slow uint64 // packets, of the run with the daemon
}

// finish ends the load: every talk that lives has to go on, and to close.
func (b *bed) finish() outcome {
	b.t.Helper()
	b.talkOn(2)
	b.tally()
	o := outcome{Talks: len(b.talks) + b.visitors, Lost: map[string]string{}, Fast: b.fast, Slow: b.slow}
	var all sync.WaitGroup
	for _, c := range b.talks {
		all.Go(c.finish)
	}
	all.Wait()
	for _, c := range b.talks {
		if why := c.lost(); why != nil {
			o.Lost[c.label()] = why.Error()
		}
		o.add(c.harm())
	}
	for i, err := range b.failed {
		o.Lost[fmt.Sprintf("visitor-%d", i)] = err.Error()
	}
	if b.complete && o.Missing > 0 {
		b.t.Errorf("%d datagrams are missing", o.Missing)
	}
	return o
}

// stopped stops the daemon as a user does, which must succeed and leave nothing.
func (b *bed) stopped() {
	b.t.Helper()
	if b.d == nil || !b.d.Running() {
		return
	}
	left := b.objects()
	if err := b.d.Stop(); err != nil {
		b.t.Error(err)
	}
	b.nothingLeft(b.d.Pins(), left)
}
