package soak

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// Kinds of talks, named by what the ruleset examples/router.nft does with them.
const (
	masqueraded = "masqueraded" // TCP/IPv4 from the LAN to the world
	routed      = "routed"      // TCP/IPv6, the same way
	forwarded   = "forwarded"   // TCP/IPv4 from the world to a port forward
	quiet       = "quiet"       // masqueraded, and silent until the server speaks first (rows that ask for it)
	udp4        = "udp4"        // UDP/IPv4, masqueraded
	udp6        = "udp6"        // UDP/IPv6
)

// Ports of the talks' servers: one for each.
const (
	firstPort     = 5001
	forwardedPort = 8080 // examples/router.nft: to port 80 of the LAN host
	webPort       = 80
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

// load starts the talks.
func (b *bed) load(p plan) {
	b.t.Helper()
	for _, kind := range []string{masqueraded, routed, forwarded, quiet, udp4, udp6} {
		if kind != quiet || p.quiet {
			b.add(kind, p.each)
		}
	}
}

// add starts so many talks of a kind. Their numbers, not their order in time, decide what they say.
func (b *bed) add(kind string, n int) {
	b.t.Helper()
	for range n {
		name := fmt.Sprintf("%s-%d", kind, len(b.talks))
		path := b.path(kind, firstPort+uint16(len(b.talks)))
		if kind == udp4 || kind == udp6 {
			b.talks = append(b.talks, startUDP(name, path.Dial.Port(), testkit.OpenUDP(b.t, path, testkit.UDPOptions{})))
			continue
		}
		pair, err := testkit.ConnectTCP(b.t, path, 0)
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		b.talks = append(b.talks, startTCP(name, pair, b.seed<<16|uint64(len(b.talks))))
	}
}

// path is the way of a kind of talks to a server's port.
func (b *bed) path(kind string, port uint16) testkit.Path {
	switch kind {
	case forwarded:
		return b.r.Forwarded(false, forwardedPort, webPort)
	case routed, udp6:
		return b.r.Path(true, port)
	default:
		return b.r.Path(false, port)
	}
}

// of returns the TCP talks of one kind that live.
func (b *bed) of(kind string) []*tcpTalk {
	var out []*tcpTalk
	for _, c := range b.talks {
		if tcp, ok := c.(*tcpTalk); ok && strings.HasPrefix(c.label(), kind+"-") && c.lost() == nil {
			out = append(out, tcp)
		}
	}
	return out
}

func (b *bed) hush(kind string) (resume func()) {
	talks := b.of(kind)
	for _, c := range talks {
		c.hush()
	}
	return func() {
		for _, c := range talks {
			c.resume()
		}
	}
}

// talkOn waits until every talk, hushed ones apart, has gone on by so many rounds. Those that do not are lost.
func (b *bed) talkOn(rounds uint64, hushed ...string) {
	b.t.Helper()
	want := map[talk]uint64{}
	for _, c := range b.talks {
		if kind, _, _ := strings.Cut(c.label(), "-"); c.lost() == nil && !slices.Contains(hushed, kind) {
			want[c] = c.rounds() + rounds
		}
	}
	err := testkit.Await(patience, func() error {
		for c, n := range want {
			if got := c.rounds(); c.lost() == nil && got < n {
				return fmt.Errorf("stands still after %d rounds", got)
			}
		}
		return nil
	})
	if err == nil {
		return
	}
	for c, n := range want {
		if c.rounds() < n {
			c.giveUp(err)
		}
	}
}

// carriedLimit is how long a connection may take to become fast once it talks: entries of both directions, a change of
// generation, TCP's flags, and the daemon's reading of the machine before all that.
const carriedLimit = 15 * time.Second

// carried waits until the daemon carries both directions of every talk that lives. In the run without it there is
// nothing to wait for.
func (b *bed) carried(hushed ...string) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	want := 0
	for _, c := range b.talks {
		if kind, _, _ := strings.Cut(c.label(), "-"); c.lost() == nil && !slices.Contains(hushed, kind) {
			want += 2
		}
	}
	testkit.MustAwait(b.t, carriedLimit, func() error {
		flows, ready := b.d.Flows(), 0
		for _, f := range flows {
			if f.State == "ready" && time.Duration(f.Idle) < time.Second {
				ready++
			}
		}
		if ready < want {
			return fmt.Errorf("%d of %d directions are fast: %+v\n%+v", ready, want, b.d.Status().Devices, flows)
		}
		return nil
	})
	before := b.d.Status().Stats.FastPackets().Packets
	testkit.MustAwait(b.t, carriedLimit, func() error {
		if got := b.d.Status().Stats.FastPackets().Packets; got < before+uint64(want) {
			return fmt.Errorf("%d packets were fast, %d before", got, before)
		}
		return nil
	})
}

// hooked waits until the daemon runs on exactly these devices at tc.
func (b *bed) hooked(devices ...string) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, carriedLimit, func() error {
		on := map[string]bool{}
		for _, d := range b.d.Status().Devices {
			if d.Hook == engine.TC {
				on[d.Name] = true
			}
		}
		for _, name := range devices {
			if !on[name] {
				return fmt.Errorf("%s is not at tc: %+v", name, b.d.Status().Devices)
			}
		}
		if len(on) != len(devices) {
			return fmt.Errorf("on %v, want %v", on, devices)
		}
		return nil
	})
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

// tracked lists the router's conntrack entries.
func (b *bed) tracked() []conntrack.Entry {
	b.t.Helper()
	var found []conntrack.Entry
	err := b.r.Router.Do(func() error {
		c, err := conntrack.Open()
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // nothing was written
		for e, err := range c.Dump(conntrack.Filter{}) {
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
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
