package soak

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// ruleset is what the router runs, as a user has it.
const ruleset = "../../examples/router.nft"

// bed is one run of a row: client, router and server, a load, and in one of the two runs the daemon.
type bed struct {
	t *testing.T
	run
	r      *testkit.Router
	d      *daemon.Daemon // nil: the run without it
	random *rand.Rand     // the script's; both runs draw the same
	saved  string         // the ruleset as it was loaded, for nft -f
	mounts *mounts        // where the daemon's bpf file system is; nil: the machine's

	talks []talk
	// visitors are connections that are no talks any more, failed which of them went wrong.
	visitors int
	failed   map[int]error
	complete bool // no datagram may be missing
	dropped  int  // backlogDrops when the load began

	begun, all packets // when the daemon was taken on; sum of all daemons
}

// run says which of a row's runs it is.
type run struct {
	seed uint64
	pair int
	ours bool // with the daemon
	full bool // the full form
}

// hook is where the devices are attached: in the full form, at XDP in every other pair.
func (r run) hook() engine.Hook {
	if r.full && r.pair%2 == 1 {
		return engine.XDP
	}
	return engine.TC
}

// plan says what a row needs of its bed.
type plan struct {
	each   int                                  // talks of each kind
	quiet  bool                                 // also quiet ones
	launch func(b *bed) (*daemon.Daemon, error) // starts the daemon in a way of the row's own
}

// packets are what a datapath has counted.
type packets struct{ fast, slow uint64 }

func randomOf(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

// newBed builds the topology, loads the ruleset, starts the daemon or does not, and starts the load.
func newBed(t *testing.T, p plan, r run) *bed {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT, testkit.Tc)
	b := &bed{t: t, run: r, r: testkit.NewRouter(t, testkit.RouterOptions{}), random: rand.New(randomOf(r.seed))}
	for _, d := range b.devices() {
		// What a network manager would do: a device that comes back has its addresses.
		d.NS.Sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")
		b.tune(d)
	}
	if out, err := daemon.Command(t, b.r.Router, "load", "--lower", ruleset); err != nil {
		t.Fatalf("load: %v: %s", err, out)
	}
	b.saved = b.save()
	if b.ours {
		if p.launch == nil {
			p.launch = func(b *bed) (*daemon.Daemon, error) { return b.launch(nil) }
		}
		b.take(p.launch(b))
	}
	b.dropped = backlogDrops(t)
	b.load(p)
	b.talkOn(3)
	b.carried()
	return b
}

// launch starts the daemon and does not wait for it.
func (b *bed) launch(prepare func() error, args ...string) (*daemon.Daemon, error) {
	for _, d := range []testkit.Dev{b.r.R0, b.r.R1} {
		args = append(args, "--device", fmt.Sprintf("%s=%s", d.Name, b.hook()))
	}
	return daemon.Launch(b.t, b.r.Router, prepare, args...)
}

// take makes a daemon that was launched the bed's, when it is ready.
func (b *bed) take(d *daemon.Daemon, err error) {
	b.t.Helper()
	if err == nil {
		err = d.AwaitReady()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.d = d
	b.begun = b.counted()
}

func (b *bed) counted() packets {
	b.t.Helper()
	s := b.d.Status().Stats
	return packets{s.FastPackets().Packets, s.Slow.Packets}
}

func (b *bed) devices() []testkit.Dev { return []testkit.Dev{b.r.C0, b.r.R0, b.r.R1, b.r.S0} }

// tune makes a device as the rows need it; one that is made anew, too.
func (b *bed) tune(d testkit.Dev) {
	b.t.Helper()
	// Rows do not wait for the second that passes before a neighbour is asked for again.
	for _, family := range []string{"ipv4", "ipv6"} {
		d.NS.Sysctl("net/"+family+"/neigh/"+d.Name+"/retrans_time_ms", "100")
	}
	if b.hook() == engine.XDP && d.NS != b.r.Router {
		// As testkit.RouterOptions has it.
		d.NS.Run("ethtool", "-K", d.Name, "gro", "on", "tx", "off")
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

// tally counts what the daemon's datapath did. It is called before the daemon ends.
func (b *bed) tally() {
	if b.d == nil || !b.d.Running() {
		return
	}
	now := b.counted()
	b.all.fast += now.fast - b.begun.fast
	b.all.slow += now.slow - b.begun.slow
	b.begun = now
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
	o := outcome{Talks: len(b.talks) + b.visitors, Lost: map[string]string{}, Fast: b.all.fast, Slow: b.all.slow}
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
	if drops := backlogDrops(b.t) - b.dropped; b.complete && o.Missing > drops {
		b.t.Errorf("%d datagrams are missing, and the machine dropped %d packets that it had no time for", o.Missing, drops)
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
